#!/usr/bin/env bash
# dispatchd's built-in worker against nginx's `return 200`: two workers each, the same cores, the
# same body, driven by wrk in interleaved rounds, keep-alive and `Connection: close`. Every figure
# is compared with nginx's of the same round; the medians count. Errors make the run invalid.
# Installs nothing, listens on loopback only, and ends only what it started.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

usage() {
  cat <<'TEXT'
usage: scripts/compare-nginx.sh [--rounds N] [--seconds N] [--cpus A,B] [--binary PATH] [--save]
  --rounds N     interleaved rounds, at least 1 (default 5)
  --seconds N    length of one wrk run (default 5)
  --cpus A,B     the two CPUs of servers and wrk (default: the first two allowed)
  --binary PATH  the dispatchd to measure (default: builds target/release/dispatchd)
  --save         write bench-results/DATE-COMMIT-nginx/
TEXT
}

rounds=5 seconds=5 cpus="" binary="" save=no
contestants=(nginx rr jbsq)
modes=(keep-alive close)
command_line="scripts/compare-nginx.sh $*"
declare -A url pids

read_arguments() {
  while (($# > 0)); do
    case $1 in
      --rounds | --seconds | --cpus | --binary)
        (($# > 1)) || die "$1 wants a value; see --help" 2
        ;;&
      --rounds) rounds=$2 && shift ;;
      --seconds) seconds=$2 && shift ;;
      --cpus) cpus=$2 && shift ;;
      --binary) binary=$2 && shift ;;
      --save) save=yes ;;
      --help | -h) usage && exit 0 ;;
      *) die "unknown argument $1; see --help" 2 ;;
    esac
    shift
  done
  [[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds $rounds: a number from 1 is wanted" 2
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || die "--seconds $seconds: a number from 1 is wanted" 2
  [[ -n $cpus ]] || cpus=$(allowed_cpus | head -2 | paste -sd,)
  [[ $cpus =~ ^[0-9]+,[0-9]+$ ]] || die "--cpus '$cpus': two numbers such as 0,1 are wanted" 2
}

# The CPUs that this process may use, one per line.
allowed_cpus() {
  awk '/^Cpus_allowed_list:/ {
    count = split($2, parts, ",")
    for (part = 1; part <= count; part++) {
      ends = split(parts[part], range, "-")
      for (cpu = range[1]; cpu <= range[ends]; cpu++) print cpu
    }
  }' /proc/self/status
}

check_tools() {
  local tool missing=()
  for tool in wrk nginx; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  ((${#missing[@]} == 0)) || die "${missing[*]} missing: apt-get install wrk nginx"
  for tool in awk taskset pgrep; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install mawk util-linux procps"
  done
}

build() {
  [[ -n $binary ]] || binary=$(build_release)
}

# dispatchd with a runtime folder of its own and none of the user's settings.
dispatchd() {
  env -i XDG_RUNTIME_DIR="$scratch/$1" taskset -c "$cpus" "$binary" "${@:2}"
}

start_dispatchd() {
  local policy=$1 status="" tries=0
  mkdir -m 700 "$scratch/$policy"
  # `env` and `taskset` become the program that they start, so that $! is the master.
  env -i XDG_RUNTIME_DIR="$scratch/$policy" taskset -c "$cpus" "$binary" --workers 2 --pin "$cpus" \
    --policy "$policy" --listen 127.0.0.1:0 --log-level warn 2>"$scratch/$policy.log" &
  started+=($!)
  until [[ $status == *'"have":2'* ]]; do
    ((++tries <= 100)) || die "dispatchd is not ready: $(cat "$scratch/$policy.log")"
    sleep 0.1
    status=$(dispatchd "$policy" status --json 2>/dev/null || true)
  done
  url[$policy]=http://$(grep -o '127\.0\.0\.1:[0-9]*' <<<"$status" | head -1)/
  pids[$policy]=$(grep -o '"pid":[0-9]*' <<<"$status" | cut -d: -f2 | paste -sd' ')
}

# The answer of a server to one request, head and body.
fetch() {
  local address=${1#http://}
  exec 3<>"/dev/tcp/127.0.0.1/$(tr -d / <<<"${address#*:}")"
  printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
  cat <&3
  exec 3>&-
}

# nginx's way to name a CPU: a bit mask.
mask_of() {
  printf '1'
  (($1 == 0)) || printf '0%.0s' $(seq "$1")
}

write_nginx_conf() {
  local port=$1 body=$2 user=""
  ((UID != 0)) || user="user root;"
  cat >"$scratch/nginx/nginx.conf" <<CONF
$user
daemon off;
worker_processes 2;
worker_cpu_affinity $(mask_of "${cpus%,*}") $(mask_of "${cpus#*,}");
pid $scratch/nginx/pid;
error_log $scratch/nginx.log warn;
events { worker_connections 4096; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  client_body_temp_path $scratch/nginx/body;
  proxy_temp_path $scratch/nginx/proxy;
  fastcgi_temp_path $scratch/nginx/fastcgi;
  uwsgi_temp_path $scratch/nginx/uwsgi;
  scgi_temp_path $scratch/nginx/scgi;
  server {
    listen 127.0.0.1:$port backlog=4096;
    location / { return 200 "$body\n"; }
  }
}
CONF
}

start_nginx() {
  local port body pid tries=0
  mkdir "$scratch/nginx"
  # A port that nobody listens on; below the range from which clients get theirs.
  port=$((20000 + RANDOM % 10000))
  ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "port $port is taken: try again"
  body=$(fetch "${url[rr]}" | sed '1,/^\r$/d')
  write_nginx_conf "$port" "$body"
  taskset -c "$cpus" nginx -e "$scratch/nginx.log" -p "$scratch/nginx" -c "$scratch/nginx/nginx.conf" &
  pid=$!
  started+=("$pid")
  until [[ $(pgrep -c -P "$pid") == 2 ]] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    ((++tries <= 100)) || die "nginx is not ready: $(cat "$scratch/nginx.log")"
    sleep 0.1
  done
  url[nginx]=http://127.0.0.1:$port/
  pids[nginx]="$pid $(pgrep -P "$pid" | paste -sd' ')"
}

# Busy time of the two CPUs so far, in nanoseconds.
busy_ns() {
  awk -v first="cpu${cpus%,*}" -v second="cpu${cpus#*,}" -v hz="$(getconf CLK_TCK)" '
    $1 == first || $1 == second { sum += $2 + $3 + $4 + $7 + $8 + $9 }
    END { printf "%.0f\n", sum * 1e9 / hz }' /proc/stat
}

# One wrk run: round, mode, contestant. Appends a line to samples.csv.
measure() {
  local round=$1 mode=$2 contestant=$3 before after header=()
  [[ $mode == keep-alive ]] || header=(-H "Connection: close")
  local TIMEFORMAT='%U %S' out=$scratch/wrk.out
  # shellcheck disable=SC2086 # a list of numbers
  before=$(cpu_ns ${pids[$contestant]})
  { time taskset -c "$cpus" wrk -t2 -c32 -d"${seconds}s" "${header[@]}" "${url[$contestant]}" \
    >"$out" 2>&1; } 2>"$scratch/wrk.time" || die "wrk failed: $(cat "$out")"
  sleep 0.2
  # shellcheck disable=SC2086 # a list of numbers
  after=$(cpu_ns ${pids[$contestant]})
  if grep -E 'Socket errors|Non-2xx' "$out" >&2; then
    die "THE RUN IS INVALID: errors in round $round, $mode, $contestant"
  fi
  awk -v round="$round" -v mode="$mode" -v contestant="$contestant" -v ns=$((after - before)) '
    FNR == NR { wrk_us = ($1 + $2) * 1e6; next }
    / requests in / { requests = $1; us = $4 * ($4 ~ /m,$/ ? 60e6 : 1e6) }
    END {
      printf "%d,%s,%s,%d,%.1f,%.3f,%.3f,%.1f\n", round, mode, contestant, requests,
        requests / us * 1e6, ns / 1000 / requests, wrk_us / requests, wrk_us / us / 2 * 100
    }' "$scratch/wrk.time" "$out" >>"$scratch/samples.csv"
}

run_rounds() {
  local round mode contestant
  for ((round = 1; round <= rounds; round++)); do
    for mode in "${modes[@]}"; do
      for contestant in "${contestants[@]}"; do
        printf '\rround %d of %d: %-10s %-6s ' "$round" "$rounds" "$mode" "$contestant" >&2
        measure "$round" "$mode" "$contestant"
      done
    done
  done
  printf '\r%50s\r' "" >&2
}

# Two short runs of each, so that nobody pays for a cold start.
warm_up() {
  local seconds=1 mode contestant
  for mode in "${modes[@]}"; do
    for contestant in "${contestants[@]}"; do
      measure 0 "$mode" "$contestant"
    done
  done
  : >"$scratch/samples.csv"
}

# The table, and what issue 2 asks for beside it.
summarize() {
  awk -F, '
    function spread(values, count, format,    i, j, swap) {
      for (i = 2; i <= count; i++)
        for (j = i; j > 1 && values[j] < values[j - 1]; j--) {
          swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap
        }
      median = (values[int((count + 1) / 2)] + values[int((count + 2) / 2)]) / 2
      return sprintf(format " (" format "-" format ")", median, values[1], values[count])
    }
    function of(column, mode, contestant, ratio, format,    round, values) {
      for (round = 1; round <= rounds; round++) {
        values[round] = data[column, round, mode, contestant]
        if (ratio) values[round] /= data[column, round, mode, "nginx"]
      }
      return spread(values, rounds, format)
    }
    function verdict(met) { return met ? "met" : "MISSED" }
    {
      for (column = 4; column <= NF; column++) data[column, $1, $2, $3] = $column
      if (rounds < $1) rounds = $1
      if (!(($2, $3) in seen)) { seen[$2, $3] = 1; order[++lines] = $2 SUBSEP $3 }
    }
    END {
      for (line = 1; line <= lines; line++) {
        split(order[line], names, SUBSEP)
        mode = names[1]; contestant = names[2]
        if (mode != last) {
          printf "\n%-10s %-22s %-19s %-21s %-20s %-13s %s\n", mode, "requests/s", "ratio",
            "server us/request", "ratio", "wrk us/req.", "wrk busy %"
          last = mode
        }
        row = sprintf("%-10s %-22s", contestant, of(5, mode, contestant, 0, "%.0f"))
        row = row sprintf(" %-19s", of(5, mode, contestant, 1, "%.3f")); speed = median
        row = row sprintf(" %-21s", of(6, mode, contestant, 0, "%.2f"))
        row = row sprintf(" %-20s", of(6, mode, contestant, 1, "%.3f")); cost = median
        row = row sprintf(" %-13s", of(7, mode, contestant, 0, "%.1f"))
        row = row " " of(8, mode, contestant, 0, "%.0f"); busy = median
        print row
        if (contestant == "nginx") continue
        if (mode == "keep-alive")
          print "           target: requests/s >= 0.97: " verdict(speed >= 0.97) \
            "; CPU per request <= 1.00: " verdict(cost <= 1.00)
        else
          print "           target: requests/s >= 1.20, or wrk >= 95 % busy: " \
            verdict(speed >= 1.20 || busy >= 95)
      }
    }' "$scratch/samples.csv"
}

report() {
  local contestant
  printf 'nginx (return 200) and dispatchd (built-in worker, /): 2 workers each, wrk -t2 -c32\n'
  printf 'median (min-max) of %d interleaved rounds of %d s on CPUs %s, 0 errors, %s %% foreign\n' \
    "$rounds" "$seconds" "$cpus" "$foreign"
  printf 'ratios: to nginx in the same round; wrk busy: its CPU in percent of its two threads\n'
  for contestant in "${contestants[@]}"; do
    printf 'bytes of an answer of %s: %d\n' "$contestant" "$(fetch "${url[$contestant]}" | wc -c)"
  done
  summarize
}

save_results() {
  local folder
  make_results_folder nginx
  awk -F, 'BEGIN { print "[" }
    {
      printf "%s  {\"round\": %d, \"mode\": \"%s\", \"contestant\": \"%s\", \"requests\": %d, " \
        "\"requests_per_s\": %s, \"server_cpu_us_per_request\": %s, " \
        "\"wrk_cpu_us_per_request\": %s, \"wrk_busy_percent\": %s}",
        (NR > 1 ? ",\n" : ""), $1, $2, $3, $4, $5, $6, $7, $8
    }
    END { print "\n]" }' "$scratch/samples.csv" >"$folder/results.json"
  cat >"$folder/env.json" <<JSON
{
$(environment "$command_line")
  "cpus": $(quoted "$cpus"),
  "nginx": $(quoted "$(nginx -v 2>&1)"),
  "wrk": $(quoted "$(wrk -v 2>&1 | head -1)"),
  "foreign_cpu_percent": $foreign
}
JSON
  echo "saved in $folder"
}

read_arguments "$@"
check_tools
build
[[ -x $binary ]] || die "--binary $binary: no such program" 2
make_scratch
start_dispatchd rr
start_dispatchd jbsq
start_nginx
warm_up

all_pids="${pids[nginx]} ${pids[rr]} ${pids[jbsq]}"
# shellcheck disable=SC2086 # a list of numbers
servers_before=$(cpu_ns $all_pids) busy_before=$(busy_ns) wall_before=$(date +%s%N)
run_rounds
# shellcheck disable=SC2086 # a list of numbers
servers=$(($(cpu_ns $all_pids) - servers_before))
foreign=$(awk -F, -v busy=$(($(busy_ns) - busy_before)) -v servers="$servers" \
  -v wall=$(($(date +%s%N) - wall_before)) '
  { wrk += $4 * $7 * 1000 }
  END { part = (busy - servers - wrk) / wall / 2 * 100; printf "%.1f", part < 0 ? 0 : part }' \
  "$scratch/samples.csv")
report | tee "$scratch/summary.txt"
[[ $save == no ]] || save_results
