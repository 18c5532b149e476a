#!/usr/bin/env bash
# Idle connections and what they cost; everything is said and done in parked.py (try --help).
set -euo pipefail
command -v python3 >/dev/null || {
  echo "parked: python3 is missing: apt-get install python3" >&2
  exit 1
}
exec python3 "$(dirname "${BASH_SOURCE[0]}")/parked.py" "$@"
