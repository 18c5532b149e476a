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

# Builds units, limits and engine alone, without std and without any crate: an engine that reads a
# clock, opens a file or names another layer does not compile.
check_engine_alone() {
  local crate=$PWD/target/shadow-crate
  mkdir -p "$crate"
  cat >"$crate/Cargo.toml" <<TOML
[package]
name = "shadow"
version = "0.0.0"
edition = "2024"

[lib]
path = "lib.rs"

[workspace]
TOML
  cat >"$crate/lib.rs" <<RUST
#![no_std]
extern crate alloc;
#[path = "$PWD/src/units.rs"]
pub mod units;
#[path = "$PWD/src/limits.rs"]
pub mod limits;
#[path = "$PWD/src/engine/mod.rs"]
pub mod engine;
RUST
  cargo check --offline --quiet --manifest-path "$crate/Cargo.toml" --target-dir target/shadow
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
