# What the scripts that measure have in common, so that they end what they started, count CPU time
# and keep results in one and the same way. To be sourced, by scripts that are `set -euo pipefail`.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
  local name=${0##*/}
  printf '%s: %s\n' "${name%.sh}" "$1" >&2
  exit "${2:-1}"
}

# Builds dispatchd as it is released, and prints where it is.
build_release() {
  cd "$root" && cargo build --release --locked --quiet --bin dispatchd || return
  realpath "${CARGO_TARGET_DIR:-target}/release/dispatchd"
}

# Processes to end at the end.
started=()
stop_all() {
  local pid
  for pid in "${started[@]}"; do
    kill -TERM "$pid" 2>/dev/null || true
  done
  for pid in "${started[@]}"; do
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$scratch"
}

# Makes `scratch`, a folder that is gone in the end, as is all that was started.
make_scratch() {
  scratch=$(mktemp -d)
  trap stop_all EXIT
  trap 'exit 130' INT TERM
}

# CPU time of processes so far, in nanoseconds; exact while they sleep.
cpu_ns() {
  local pid
  for pid in "$@"; do
    cat /proc/"$pid"/task/*/schedstat
  done | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

# A string for JSON.
quoted() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# Makes `folder` for results of a kind, and puts the summary into it.
make_results_folder() {
  cd "$root" || return
  folder=bench-results/$(date +%F)-$(commit)-$1
  mkdir "$folder" || die "results are never overwritten"
  cp "$scratch/summary.txt" "$folder/summary.txt"
}

commit() {
  git -C "$root" rev-parse --short HEAD 2>/dev/null || echo nocommit
}

# The lines that every env.json begins with, for a command line.
environment() {
  local changed
  changed=$(git -C "$root" status --porcelain -- src Cargo.lock 2>/dev/null | head -1 || true)
  cat <<JSON
  "date": $(quoted "$(date +%F)"),
  "commit": $(quoted "$(commit)"),
  "uncommitted_changes": $([[ -n $changed ]] && echo true || echo false),
  "command": $(quoted "$1"),
  "kernel": $(quoted "$(uname -r)"),
  "host": $(quoted "$(uname -n)"),
  "cpu_model": $(quoted "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"),
JSON
}
