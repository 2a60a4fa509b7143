#!/bin/bash
# Clippy for Apple silicon, on any system: every Rust error and lint of what only macOS compiles. C and Objective-C are
# not seen, nor is linking.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"
use_cargo_cache

target=aarch64-apple-darwin
stub=$repo/scripts/darwin-cc.sh

has_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; }

if ! has_target; then
    # A distribution's Rust has no standard library for another system.
    if ! command -v rustup >/dev/null; then
        say "not checked for macOS: this Rust has no $target, and there is no rustup to get it"
        exit 0
    fi
    say "getting Rust's standard library for $target"
    if ! timeout 300 rustup --quiet target add $target; then
        # A machine without that server can still check everything else; whoever reads the log sees what it didn't.
        say "NOT CHECKED for macOS: rustup can't get $target"
        exit 0
    fi
fi
export CC_aarch64_apple_darwin=$stub CXX_aarch64_apple_darwin=$stub AR_aarch64_apple_darwin=$stub
# Tests as well: people run them on a Mac with a real limactl. Benches measure engines that only Linux has.
exec cargo clippy --locked --workspace --lib --bins --tests --examples --target $target -- -D warnings
