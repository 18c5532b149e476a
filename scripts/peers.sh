#!/usr/bin/env bash
# dispatchd beside its peers; everything is said and done in peers.py (try --help).
set -euo pipefail
command -v python3 >/dev/null || {
  echo "peers: python3 is missing: apt-get install python3" >&2
  exit 1
}
exec python3 "$(dirname "${BASH_SOURCE[0]}")/peers.py" "$@"
