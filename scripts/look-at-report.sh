#!/usr/bin/env bash
# Takes pictures of a report as a reader sees it: a wide page in light and in dark, and one as
# narrow as a phone. Looking at them is up to you; the script itself fails if the page asks for
# anything but itself. It needs chromium (apt-get install chromium).
set -euo pipefail

(($# == 2)) || { echo "usage: scripts/look-at-report.sh report.html FOLDER" >&2; exit 2; }
page=$(realpath -- "$1")
folder=$2
mkdir -p -- "$folder"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
  { echo "no chromium found: apt-get install chromium" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

# shot NAME WIDTH PAGE FLAG...
shot() {
  local name=$1 width=$2 page=$3
  shift 3
  "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars \
    --user-data-dir="$scratch/$name" --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --force-device-scale-factor=1 \
    --window-size="$width,6000" "$@" \
    --screenshot="$folder/$name.png" "file://$page" >/dev/null 2>"$scratch/$name.log"
  echo "$folder/$name.png"
}

if grep -nE '(src|href|url)[=(]"?(https?:)?//' "$page"; then
  echo "the page asks for something outside itself" >&2
  exit 1
fi
shot light 1280 "$page" --blink-settings=preferredColorScheme=1
shot dark 1280 "$page" --blink-settings=preferredColorScheme=0
# A headless window may be no narrower than 500, a frame in it may.
printf '<body style="margin:0"><iframe src="file://%s" style="border:0;width:390px;height:6000px">' \
  "$page" >"$scratch/phone.html"
shot phone 500 "$scratch/phone.html" --blink-settings=preferredColorScheme=1
