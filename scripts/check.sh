#!/usr/bin/env bash
# The one gate: what CI runs (.ci/run) is what you run. It needs a Rust toolchain, a C linker, and for
# the tests root, two CPUs, util-linux (unshare, chrt, prlimit) and iproute2 (ip). It stops at the first
# step that fails. The tests come last, so that their closing lines end the output. Arguments are handed
# to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step=""
trap '[[ $? -eq 0 ]] || printf "\nFAILED: %s\n" "${step:-scripts/check.sh}" >&2' EXIT

begin() {
  step=$1
  printf '\n==> %s\n' "$step"
}

# Is `cargo $1` there? Where a minimal toolchain lacks the component $2, rustup is asked for it; if
# that fails, the step is left out and named again before the tests.
left_out=()
has_component() {
  cargo "$1" --version >/dev/null 2>&1 && return
  echo "cargo $1 is missing; trying: rustup component add $2"
  if command -v rustup >/dev/null && rustup component add "$2" &&
    cargo "$1" --version >/dev/null 2>&1; then
    return
  fi
  echo "LEFT OUT: $step (the component $2 is not installed and could not be added)"
  left_out+=("$step")
  return 1
}

# Builds units, limits and one engine of the three: the whole of it, and each half without the other,
# without std and without any crate. An engine that reads a clock, opens a file or names another
# layer does not compile, nor does a half that names the other.
check_engine_alone() {
  local half crate
  local shared="action capabilities event input members rng workers"
  for half in "" supervisor dispatcher; do
    crate=$PWD/target/shadow-crate${half:+-$half}
    mkdir -p "$crate"
    cat >"$crate/Cargo.toml" <<TOML
[package]
name = "shadow${half:+-$half}"
version = "0.0.0"
edition = "2024"

[lib]
path = "lib.rs"

[workspace]
TOML
    {
      echo "#![no_std]"
      echo "extern crate alloc;"
      shadow_module "" units
      shadow_module "" limits
      if [[ -z $half ]]; then
        shadow_module "" engine engine/mod
      else
        # What only the other half calls, or the engine, is not dead.
        echo "#[allow(dead_code)]"
        echo "pub mod engine {"
        for module in $shared; do
          shadow_module "    " "$module" "engine/$module"
        done
        shadow_module "    " "$half" "engine/$half/mod"
        echo "}"
      fi
    } >"$crate/lib.rs"
    cargo check --offline --quiet --manifest-path "$crate/Cargo.toml" --target-dir target/shadow
  done
}

# Declares a module of the shadow crate: an indentation, a name, and a file below src.
shadow_module() {
  echo "$1#[path = \"$PWD/src/${3:-$2}.rs\"]"
  echo "$1pub mod $2;"
}

begin "formatting"
if has_component fmt rustfmt; then
  cargo fmt --check
fi

begin "lints"
if has_component clippy clippy; then
  cargo clippy --locked --all-targets --all-features -- -D warnings
fi

begin "the engine alone, without std"
check_engine_alone

begin "the worker SDK alone, and what it depends on"
cargo check --locked --no-default-features --features worker
cargo tree --locked --no-default-features --features worker --edges normal

begin "documentation"
RUSTDOCFLAGS=-Dwarnings cargo doc --locked --all-features --no-deps --document-private-items

if ((${#left_out[@]} > 0)); then
  printf '\nLEFT OUT: %s\n' "${left_out[@]}"
fi

begin "tests"
cargo test --locked --all-features "$@"
