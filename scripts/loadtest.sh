#!/usr/bin/env bash
# Short and long requests at constant rates against dispatchd, one policy after the other: wrk2
# where it is installed, else the next best generator, with plain words on what its figures can and
# cannot claim. Installs and builds no generator, listens on loopback only, and ends only what it
# started.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The two classes: the share of the long one, and the service times in milliseconds.
readonly long_share=0.01 short_ms=1 long_ms=100
# A p99 that no policy here should pass, in seconds: it decides how many connections are opened.
readonly p99_ceiling=0.5
# wrk2 throws away what it sees in its first 10 s, and 5 ms more per connection (its source).
readonly wrk2_calibration_s=10
readonly wrk2_home=https://github.com/giltene/wrk2
readonly classes=(short long)

usage() {
  cat <<'TEXT'
usage: scripts/loadtest.sh [--workers N] [--policy LIST]... [--load X] [--duration S]
                           [--connections close|keep-alive] [--tool NAME] [--save]
  --workers N          workers of dispatchd (default 2)
  --policy LIST        policies with commas between, repeatable (default rr,least,jbsq,shared)
  --load X             busy share of the workers, above 0 and below 1 (default 0.8)
  --duration S         seconds measured per policy (default 30; wrk2 adds 10 s and more that it
                       throws away)
  --connections KIND   close (one connection per request) or keep-alive (default close)
  --tool NAME          wrk2, dispatchd, oha, h2load or wrk (default: the first of them found)
  --save               write bench-results/DATE-COMMIT-loadtest/
99 % of the requests are /sleep?ms=1, 1 % are /sleep?ms=100. The rate is what gives the load.
$WRK2 names a wrk2, $DISPATCHD the dispatchd to measure (default: builds target/release/dispatchd).
TEXT
}

workers=2 policies=() load=0.8 duration=30 connections=close tool="" tool_path="" save=no
command_line="scripts/loadtest.sh $*"

read_arguments() {
  local list
  while (($# > 0)); do
    case $1 in
      --workers | --policy | --load | --duration | --connections | --tool)
        (($# > 1)) || die "$1 wants a value; see --help" 2
        ;;&
      --workers) workers=$2 && shift ;;
      --policy)
        IFS=, read -ra list <<<"$2"
        policies+=("${list[@]}")
        shift
        ;;
      --load) load=$2 && shift ;;
      --duration) duration=$2 && shift ;;
      --connections) connections=$2 && shift ;;
      --tool) tool=$2 && shift ;;
      --save) save=yes ;;
      --help | -h) usage && exit 0 ;;
      *) die "unknown argument $1; see --help" 2 ;;
    esac
    shift
  done
  ((${#policies[@]} > 0)) || policies=(rr least jbsq shared)
  check_arguments
}

check_arguments() {
  local policy
  [[ $workers =~ ^([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-6])$ ]] ||
    die "--workers $workers: a number from 1 to 256 is wanted" 2
  [[ $load =~ ^0\.[0-9]*[1-9][0-9]*$ ]] || die "--load $load: 0.01 to 0.99 is wanted" 2
  [[ $duration =~ ^[1-9][0-9]*$ ]] || die "--duration $duration: whole seconds from 1 are wanted" 2
  [[ $connections == close || $connections == keep-alive ]] ||
    die "--connections $connections: close or keep-alive is wanted" 2
  [[ -z $tool || " wrk2 dispatchd oha h2load wrk " == *" $tool "* ]] ||
    die "--tool $tool: wrk2, dispatchd, oha, h2load or wrk is wanted" 2
  for policy in "${policies[@]}"; do
    [[ $policy =~ ^(rr|wrr|least|jbsq(:[0-9]+)?|shared|reuseport)$ ]] ||
      die "--policy '$policy': rr, wrr, least, jbsq, jbsq:N, shared or reuseport is wanted" 2
  done
}

# Prints the whole help of a program: a pipe to `grep -q` would break it off in the middle.
help_of() {
  "$@" --help 2>&1 || true
}

find_wrk2() {
  if [[ -n ${WRK2:-} ]]; then
    command -v "$WRK2" >/dev/null || die "\$WRK2 is '$WRK2': no such program"
    [[ $(help_of "$WRK2") == *"-R"*rate* ]] || die "\$WRK2 is '$WRK2': no wrk2, its help lacks -R"
    command -v "$WRK2"
  elif command -v wrk2 >/dev/null; then
    command -v wrk2
  elif command -v wrk >/dev/null && [[ $(help_of wrk) == *"-R"*rate* ]]; then
    command -v wrk
  fi
}

# The path of a generator, or nothing where it is missing.
find_tool() {
  case $1 in
    wrk2) find_wrk2 ;;
    dispatchd) [[ $(help_of "$dispatchd" bench load) != *--arrivals* ]] || echo "$dispatchd" ;;
    *) command -v "$1" || true ;;
  esac
}

choose_tool() {
  local candidate wanted=${tool:-wrk2 dispatchd oha h2load wrk}
  for candidate in $wanted; do
    # Its HTTP/1.1 does not come to an end where the server closes each connection.
    [[ $candidate != h2load || $connections == keep-alive ]] || continue
    tool_path=$(find_tool "$candidate")
    [[ -n $tool_path ]] || continue
    tool=$candidate
    break
  done
  [[ $tool != h2load || -n $tool_path || $connections == keep-alive ]] ||
    die "h2load does not end under close: take --connections keep-alive" 2
  [[ -n $tool_path ]] || die "no ${wanted// /, } here; the best is wrk2: $wrk2_home"
  [[ $tool == wrk2 ]] ||
    echo "wrk2 is not used (it is to be had from $wrk2_home); measuring with $tool"
}

# What the figures of the tool in use can and cannot claim.
claims() {
  case $tool in
    wrk2)
      cat <<'TEXT'
wrk2: latency from the time at which a request was due, at a constant rate per connection.
  Can claim: percentiles that a stalled server cannot hide (coordinated omission is corrected).
  Cannot: stand for random arrivals: each connection sends on a beat of its own, so together they
  are evener than Poisson (or, where beats coincide, burstier), and waits differ from it; nor is it
  open: a connection has one request outstanding, so a slow answer holds its next request back
  ("closed" marks rows with fewer than 2 x rate x p99 connections, where that shapes the result).
  Its send timer is coarse by up to 1 ms.
TEXT
      ;;
    dispatchd)
      cat <<'TEXT'
dispatchd bench load: open loop, Poisson arrivals, latency from the intended time, per class.
  Can claim: percentiles as independent users would see them, with no request held back under
  close; it measures its own lateness and says when a round does not count.
  Cannot: be an outsider's word: it is the generator of the project that it measures. Under
  keep-alive a connection has one request outstanding, as with wrk2.
TEXT
      ;;
    oha)
      cat <<'TEXT'
oha: a constant rate (-q), latency counted from the due time (--latency-correction).
  Can claim: percentiles per class, with late sending counted.
  Cannot: stand for random arrivals, nor is it open: requests beyond -c wait in the generator. Its
  due times are coarse by 1 ms, and what its many threads cost competes with the workers.
TEXT
      ;;
    h2load)
      cat <<'TEXT'
h2load: a constant rate per connection (--rps), latency from the time of sending: NOT corrected.
  Can claim: throughput, and latency as long as no request was held back.
  Cannot: show what a stall did to the requests behind it (coordinated omission): quote no p99 of
  it as what users see.
TEXT
      ;;
    wrk)
      cat <<'TEXT'
wrk: closed loop, as fast as answers come: there is no rate, so the load asked for is not applied.
  Can claim: throughput per class when both saturate the workers.
  Cannot: say anything of latency. None is printed; do not quote any.
TEXT
      ;;
  esac
}

build() {
  dispatchd=${DISPATCHD:-}
  [[ -n $dispatchd ]] || dispatchd=$(build_release)
  dispatchd=$(command -v "$dispatchd") || die "\$DISPATCHD is '${DISPATCHD:-}': no such program" 2
}

# Starts dispatchd with a policy, with a runtime folder of its own and none of the user's settings.
start_server() {
  local home=$scratch/home status="" tries=0
  rm -rf "$home"
  mkdir -m 700 "$home"
  env -i XDG_RUNTIME_DIR="$home" "$dispatchd" --workers "$workers" --policy "$1" \
    --listen 127.0.0.1:0 --log-level warn 2>"$scratch/server.log" &
  server=$!
  started+=("$server")
  until [[ $status == *"\"have\":$workers,"* ]]; do
    ((++tries <= 100)) || die "dispatchd is not ready: $(tail -1 "$scratch/server.log")"
    kill -0 "$server" 2>/dev/null || die "dispatchd ended: $(tail -1 "$scratch/server.log")"
    sleep 0.1
    status=$(env -i XDG_RUNTIME_DIR="$home" "$dispatchd" status --json 2>/dev/null || true)
  done
  url=http://$(grep -o '127\.0\.0\.1:[0-9]*' <<<"$status" | head -1)
  server_pids=$(grep -o '"pid":[0-9]*' <<<"$status" | cut -d: -f2 | paste -sd' ')
}

stop_server() {
  kill -TERM "$server"
  wait "$server" || die "dispatchd failed: $(tail -1 "$scratch/server.log")"
  started=()
}

# The rate of each class, from load, workers and the mean service time. wrk2 and oha know whole
# rates only, so all are rounded, and the load that this gives is what is reported.
plan_rates() {
  read -r rate_short rate_long real_load < <(awk -v load="$load" -v workers="$workers" \
    -v long_share=$long_share -v short_ms=$short_ms -v long_ms=$long_ms 'BEGIN {
      rate = load * workers * 1000 / ((1 - long_share) * short_ms + long_share * long_ms)
      short = int(rate * (1 - long_share) + 0.5)
      long = int(rate * long_share + 0.5)
      printf "%d %d %.3f\n", short, long, (short * short_ms + long * long_ms) / workers / 1000
    }')
  ((rate_long > 0)) || die "fewer than one long request per second: more --load or --workers" 2
}

# Connections for a rate: 2 x rate x p99, and so many more that wrk2 does not send in bursts. It
# opens one every 5 ms, and each repeats its own beat from then on: where the period of a beat is
# near a multiple of 5 ms, all connections send in the same few milliseconds.
connections_for() {
  awk -v rate="$1" -v p99=$p99_ceiling 'BEGIN {
    least = int(2 * rate * p99) + 1
    per_slot = int(rate * 0.005 + 0.999); if (per_slot > 64) per_slot = 64
    best = least; best_gap = -1
    for (count = least; count < least + 40; count++) {
      shift = count / rate / 0.005; shift -= int(shift); gap = 1
      for (step = 1; step < per_slot; step++) {
        phase = step * shift; phase -= int(phase)
        if (phase < gap) gap = phase
        if (1 - phase < gap) gap = 1 - phase
      }
      if (gap > best_gap + 1e-9) { best_gap = gap; best = count }
    }
    print best
  }'
}

plan() {
  plan_rates
  connections_short=$(connections_for "$rate_short")
  connections_long=$(connections_for "$rate_long")
  [[ $tool != wrk ]] || connections_short=$((8 * workers)) connections_long=1
  local wanted=$((connections_short + connections_long + 100))
  (($(ulimit -n) >= wanted)) || ulimit -n "$wanted" 2>/dev/null ||
    die "$wanted open files are needed, $(ulimit -Hn) are allowed: ulimit -Hn $wanted, or less load"
  close_header=()
  [[ $connections == keep-alive ]] || close_header=(-H "Connection: close")
}

# rate and connections of a class, and its path.
of_class() {
  local name=${1}_$2
  printf '%s' "${!name}"
}

path_of() {
  local name=${1}_ms
  printf '/sleep?ms=%s' "${!name}"
}

# Runs the tool once per class, at the same time; its output is kept in the folder.
together() {
  local folder=$1 class pids=() pid
  for class in "${classes[@]}"; do
    "run_$tool" "$class" >"$folder/$class.txt" 2>"$folder/$class.err" &
    pids+=($!)
    started+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" ||
      die "$tool failed (exit code $?): $(cat "$folder"/*.err "$folder"/*.txt | tail -1)"
  done
  started=("$server")
}

# The tool, ended 20 s after it should have ended by itself.
bounded() {
  exec timeout "$((seconds + discarded + 20))" "$tool_path" "$@"
}

# wrk2 with one thread. Below 200 requests/s its connections, opened 5 ms apart, would all send in
# one burst per period: then each gets a thread of its own, started one after the other.
run_wrk2() {
  local class=$1 rate count threads=1 script=()
  rate=$(of_class rate "$class")
  count=$(of_class connections "$class")
  if ((rate < 200)); then
    threads=$count
    printf 'function init() os.execute("sleep %s") end\n' \
      "$(awk -v rate="$rate" 'BEGIN { printf "%.4f", 1 / rate }')" >"$scratch/$class.lua"
    script=(-s "$scratch/$class.lua")
  fi
  bounded -L -t"$threads" -c"$count" -R"$rate" -d"$((seconds + discarded))s" \
    --timeout 10s "${script[@]}" "${close_header[@]}" "$url$(path_of "$class")"
}

run_oha() {
  local class=$1 json=(-j) close=()
  [[ $(help_of "$tool_path") != *--output-format* ]] || json=(--output-format json)
  [[ $connections == keep-alive ]] || close=(--disable-keepalive)
  bounded --no-tui "${json[@]}" "${close[@]}" --latency-correction -z "${seconds}s" \
    -q "$(of_class rate "$class")" \
    -c "$(of_class connections "$class")" "$url$(path_of "$class")"
}

run_h2load() {
  local class=$1 count
  count=$(of_class connections "$class")
  bounded --h1 -t1 -c"$count" -D"$seconds" --log-file="$folder/$class.log" \
    --rps="$(awk -v rate="$(of_class rate "$class")" -v count="$count" \
      'BEGIN { printf "%.4f", rate / count }')" "${close_header[@]}" "$url$(path_of "$class")"
}

run_wrk() {
  bounded -t1 -c"$(of_class connections "$1")" -d"${seconds}s" "${close_header[@]}" \
    "$url$(path_of "$1")"
}

# dispatchd's own generator draws both classes itself, from one seed.
run_dispatchd() {
  local how=per-request warmup=$1
  [[ $connections == close ]] || how=pool:$connections_short
  "$tool_path" bench load "$url" --rate "$((rate_short + rate_long))" \
    --duration "$((seconds + warmup))s" --warmup "${warmup}s" \
    --mix "99%:$(path_of short),1%:$(path_of long)" \
    --connections "$how" --server-pid "$server" --output "$folder/out" \
    >"$folder/both.txt" 2>"$folder/both.err" || true
  # A round that does not count ends with an error, but has figures: they are shown, and marked.
  [[ -f $folder/out/results.json ]] || die "bench load failed: $(tail -1 "$folder/both.err")"
}

# Runs the tool for some seconds; everything it prints ends in the folder.
run_tool() {
  local folder=$1 seconds=$2 warmup=${3:-0} discarded=${4:-0}
  mkdir -p "$folder"
  if [[ $tool == dispatchd ]]; then
    run_dispatchd "$warmup"
  else
    together "$folder"
  fi
}

# Every latency of a class with its count: "milliseconds count" lines, ascending.
points() {
  local folder=$1 class=$2
  case $tool in
    wrk2) spectrum 1 "$folder/$class.txt" ;;
    dispatchd) [[ ! -f $folder/out/$class.hgrm ]] || spectrum 1000 "$folder/out/$class.hgrm" ;;
    h2load) awk '$2 > 0 { printf "%.3f 1\n", $3 / 1000 }' "$folder/$class.log" | sort -n ;;
  esac
}

# The points of a printed HdrHistogram; $1 of its units are a millisecond.
spectrum() {
  awk -v unit="$1" '$0 ~ /^ *Value +Percentile +TotalCount/ { inside = 1; next }
    /^#\[Mean/ { exit }
    inside && NF == 4 && $3 > seen { printf "%.3f %d\n", $1 / unit, $3 - seen; seen = $3 }' "$2"
}

# p50 p90 p99 p99.9 max of points, in ms.
percentiles() {
  awk '{ value[NR] = $1; total += $2; upto[NR] = total }
    function at(part,    line) {
      for (line = 1; line < NR; line++) if (upto[line] >= part * total) break
      return value[line]
    }
    END {
      if (!total) { print "- - - - -"; exit }
      printf "%.3f %.3f %.3f %.3f %.3f\n", at(0.5), at(0.9), at(0.99), at(0.999), value[NR]
    }'
}

# Milliseconds of wrk2's exact percentiles, which it prints with units.
percentiles_of_wrk2() {
  awk 'function ms(text) {
      if (text ~ /us$/) return text / 1000
      if (text ~ /ms$/) return text + 0
      return text * (text ~ /m$/ ? 60000 : text ~ /h$/ ? 3600000 : 1000)
    }
    /^ *(50|90|99|99\.9|100)\.?0*% / { found = found sprintf("%.3f ", ms($2)) }
    END { print found }' "$1"
}

# The figures of a latency object in bench load's JSON, in ms, or of oha's.
percentiles_of_json() {
  local folder=$1 class=$2
  if [[ $tool == oha ]]; then
    awk -F'[:,]' '{ gsub(/[" ]/, "") }
      $1 == "latencyPercentiles" { inside = 1 } $1 == "slowest" { max = $2 * 1000 }
      inside && $1 ~ /^p(50|90|99|99\.9)$/ { found = found sprintf("%.3f ", $2 * 1000) }
      inside && $1 == "p99.99" { inside = 0 }
      END { printf "%s%.3f\n", found, max }' "$folder/$class.txt"
  else
    awk -F': ' -v class="\"$class\"," '$1 ~ /"name"$/ { inside = $2 == class }
      inside && $1 ~ /"latency_us"$/ { found = 1 } inside && $1 ~ /"slowdown"$/ { exit }
      found && $1 ~ /"(p50|p90|p99|p999|max)"$/ { printf "%.3f ", $2 / 1000 }
      END { print found ? "" : "- - - - -" }' "$folder/out/results.json"
  fi
}

# Answers, answers per second and errors of a class.
counts() {
  local folder=$1 class=$2 window=$duration
  case $tool in
    wrk2 | wrk)
      [[ $class == short ]] || window=$((duration + (connections_short * 5 + 999) / 1000))
      awk -v seconds="$window" -v exact="$([[ $tool == wrk2 ]] && echo 1 || echo 0)" '
        /^#\[Max/ { measured = $NF + 0; sub(/.*= */, ""); measured = $0 + 0 }
        / requests in / { answers = $1 }
        /Socket errors/ { gsub(/[^0-9 ]/, ""); errors += $1 + $2 + $3 + $4 }
        /Non-2xx/ { errors += $NF }
        /^Requests\/sec/ { rate = $2 }
        END { if (exact) { answers = measured; rate = measured / seconds }
          printf "%d %.1f %d\n", answers, rate, errors }' "$folder/$class.txt"
      ;;
    oha)
      awk -F: '{ gsub(/[", {}]/, "") }
        $1 == "requestsPerSec" { rate = $2 }
        $1 == "statusCodeDistribution" { of = "status" } $1 == "errorDistribution" { of = "error" }
        of == "status" && $1 ~ /^[0-9]+$/ { if ($1 < 400) answers += $2; else errors += $2 }
        of == "error" && $2 ~ /^[0-9]+$/ && $1 !~ /deadline/ { errors += $2 }
        END { printf "%d %.1f %d\n", answers, rate, errors }' "$folder/$class.txt"
      ;;
    h2load)
      awk -v seconds="$duration" '/^requests:/ { errors = $10 + $12 + $14 }
        /^status codes:/ { answers = $3 }
        END { printf "%d %.1f %d\n", answers, answers / seconds, errors }' "$folder/$class.txt"
      ;;
    dispatchd)
      awk -F': ' -v class="\"$class\"," '{ gsub(/,$/, "", $2) }
        $1 ~ /"seconds"$/ { seconds = $2 } $1 ~ /"errors"$/ { errors = $2 }
        $1 ~ /"name"$/ { inside = $2 "," == class }
        inside && $1 ~ /"requests"$/ { answers = $2; inside = 0 }
        # It counts errors of both classes together: they stand in the first row.
        END { if (class != "\"short\",") errors = 0
          printf "%d %.1f %d\n", answers, answers / seconds, errors }' \
        "$folder/out/results.json"
      ;;
  esac
}

# Busy time of all CPUs, and CPU time of this script and of what it has waited for, in clock ticks.
ticks() {
  awk 'FNR == NR { if ($1 == "cpu") busy = $2 + $3 + $4 + $7 + $8 + $9; next }
    { sub(/.*\) /, ""); print busy, $12 + $13 + $14 + $15 }' /proc/stat "/proc/$$/stat"
}

# Percent of the CPU time that went to strangers between two readings of `ticks` and of cpu_ns.
foreign_between() {
  awk -v hz="$(getconf CLK_TCK)" -v cpus="$(getconf _NPROCESSORS_ONLN)" \
    -v server="$1" -v wall="$2" -v before="$3" -v after="$4" 'BEGIN {
      split(before, from); split(after, to)
      part = ((to[1] - from[1] - to[2] + from[2]) / hz - server / 1e9) / (wall / 1e9) / cpus * 100
      printf "%.1f", part < 0 ? 0 : part
    }'
}

# Latencies of a class as the tool gives them: exact where it prints them, else from its points.
latencies() {
  case $tool in
    wrk2) percentiles_of_wrk2 "$1/$2.txt" ;;
    dispatchd | oha) percentiles_of_json "$1" "$2" ;;
    h2load) points "$1" "$2" | percentiles ;;
    wrk) echo "- - - - -" ;;
  esac
}

# One line per class of samples.csv, and one of both together.
collect() {
  local policy=$1 folder=$2 foreign=$3 class rate connections_here row note all
  for class in "${classes[@]}"; do
    rate=$(of_class rate "$class")
    connections_here=$(of_class connections "$class")
    [[ $tool != dispatchd || $connections == keep-alive ]] || connections_here=0
    read -ra row < <(latencies "$folder" "$class")
    note=$(note_of "$rate" "$connections_here" "${row[2]}")
    printf '%s,%s,%s,%s,%s,%s,%s,%s,%s\n' "$policy" "$class" "$rate" "$connections_here" \
      "$(counts "$folder" "$class" | tr ' ' ,)" "$(IFS=, && echo "${row[*]}")" "$foreign" \
      "$note" "$(rejection "$folder")" >>"$scratch/samples.csv"
  done
  [[ $tool != wrk && $tool != oha ]] || return 0
  all=$(for class in "${classes[@]}"; do points "$folder" "$class"; done | sort -n | percentiles)
  awk -F, -v OFS=, -v policy="$policy" -v all="${all// /,}" '$1 == policy {
      rate += $3; connections += $4; answers += $5; per_s += $6; errors += $7; foreign = $13 }
    END { print policy, "both", rate, connections, answers, per_s, errors, all, foreign, "", "" }' \
    "$scratch/samples.csv" >"$scratch/both.csv"
  cat "$scratch/both.csv" >>"$scratch/samples.csv"
}

# "closed" where one outstanding request per connection may have shaped the result.
note_of() {
  awk -v rate="$1" -v connections="$2" -v p99="$3" -v tool="$tool" 'BEGIN {
    if (p99 != "-" && connections > 0 && connections < 2 * rate * p99 / 1000) print "closed" }'
}

# Why bench load says that its round does not count, if it does, with no comma in it.
rejection() {
  [[ $tool != dispatchd ]] ||
    sed -n 's/.*"rejected": "\(.*\)",$/\1/p' "$1/out/results.json" | tr , ';'
}

# One line on a terminal, overwritten by the next.
progress() {
  [[ ! -t 2 ]] || printf '\r%-50s\r%s' "" "$1" >&2
}

measure() {
  local policy=$1 folder=$scratch/raw/${1/:/-} discarded=0 server_before before wall after spent
  start_server "$policy"
  progress "$policy: warming up"
  run_tool "$scratch/warm-up/$policy" 2
  [[ $tool != wrk2 ]] ||
    discarded=$((wrk2_calibration_s + (connections_short * 5 + 999) / 1000))
  progress "$policy: $tool for $((duration + discarded)) s"
  # shellcheck disable=SC2086 # a list of numbers
  server_before=$(cpu_ns $server_pids)
  before=$(ticks) wall=$(date +%s%N)
  run_tool "$folder" "$duration" 1 "$discarded"
  wall=$(($(date +%s%N) - wall)) after=$(ticks)
  # shellcheck disable=SC2086 # a list of numbers
  spent=$(($(cpu_ns $server_pids) - server_before))
  progress ""
  collect "$policy" "$folder" "$(foreign_between "$spent" "$wall" "$before" "$after")"
  stop_server
}

# The table, the marks that make a row worth less, and the claims.
report() {
  printf 'dispatchd, %d workers, load %s, %s: %s/s of %s and %s/s of %s, %d s each, with %s\n' \
    "$workers" "$real_load" "$connections" "$rate_short" "$(path_of short)" "$rate_long" \
    "$(path_of long)" "$duration" "$tool"
  awk -F, '
    BEGIN { printf "\n%-10s %-6s %9s %10s %9s %9s %9s %9s %9s %7s %6s %9s\n", "policy", "class",
      "answers", "answers/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "errors",
      "conns", "foreign %" }
    {
      printf "%-10s %-6s %9d %10.1f %9s %9s %9s %9s %9s %7d %6s %9s  %s\n", $1, $2, $5, $6, $8, $9,
        $10, $11, $12, $7, $4 ? $4 : "-", $13, $14
      errors += $7
      if ($15 != "" && !($1 in told)) { told[$1] = 1; reason[++reasons] = $1 ": " $15 }
      else if ($13 > 3 && !($1 in told)) { told[$1] = 1
        reason[++reasons] = $1 ": " $13 " % of the CPU time went to others (3 % are allowed)" }
    }
    END {
      print ""
      for (line = 1; line <= reasons; line++) print "DOES NOT COUNT: " reason[line]
      if (errors) print "DOES NOT COUNT: " errors " errors"
    }' "$scratch/samples.csv"
  echo "both: merged from the histograms of the two classes. One run per policy, one after the"
  echo "other: a look at the shape; to tell policies apart, \`dispatchd bench fairness\` interleaves."
  claims
}

tool_version() {
  case $tool in
    dispatchd) "$tool_path" --version ;;
    wrk | wrk2) "$tool_path" -v 2>&1 | head -1 || true ;;
    *) "$tool_path" --version 2>&1 | head -1 ;;
  esac
}

save_results() {
  local folder
  make_results_folder loadtest
  cp -r "$scratch/raw" "$folder/raw"
  find "$folder/raw" \( -name '*.err' -o -name '*.lua' \) -size 0 -delete
  awk -F, 'BEGIN { print "[" }
    function figure(value) { return value == "-" ? "null" : value }
    {
      printf "%s  {\"policy\": \"%s\", \"class\": \"%s\", \"rate\": %s, \"connections\": %s, " \
        "\"answers\": %s, \"answers_per_s\": %s, \"errors\": %s, \"p50_ms\": %s, \"p90_ms\": %s, " \
        "\"p99_ms\": %s, \"p999_ms\": %s, \"max_ms\": %s, \"foreign_cpu_percent\": %s, " \
        "\"note\": \"%s\", \"rejected\": \"%s\"}", (NR > 1 ? ",\n" : ""), $1, $2, $3, $4, $5, $6,
        $7, figure($8), figure($9), figure($10), figure($11), figure($12), $13, $14, $15
    }
    END { print "\n]" }' "$scratch/samples.csv" >"$folder/results.json"
  cat >"$folder/env.json" <<JSON
{
$(environment "$command_line")
  "cpus": $(getconf _NPROCESSORS_ONLN),
  "dispatchd": $(quoted "$("$dispatchd" --version)"),
  "tool": $(quoted "$tool"),
  "tool_version": $(quoted "$(tool_version)")
}
JSON
  echo "saved in $folder"
}

read_arguments "$@"
for needed in awk getconf paste; do
  command -v "$needed" >/dev/null ||
    die "$needed is missing: apt-get install mawk libc-bin coreutils"
done
build
choose_tool
plan
make_scratch
for policy in "${policies[@]}"; do
  measure "$policy"
done
report | tee "$scratch/summary.txt"
[[ $save == no ]] || save_results
