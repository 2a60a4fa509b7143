#!/bin/bash
# Fuzzes what reads the input of others: files, names, the first bytes of connections, the control socket's lines, tar
# streams of guests and JSON of engines. Fails where something was found; the input that did it is then in fuzz/artifacts.
#
#   fuzz.sh [SECONDS]              for each target (default 60)
#   TARGETS='names file' fuzz.sh   only these
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"

seconds=${1:-60}
version=0.13.2
# The instrumentation is unstable in name only: the pinned toolchain has it.
export RUSTC_BOOTSTRAP=1

if ! command -v cargo-fuzz >/dev/null; then
    say "building cargo-fuzz $version"
    cargo install -q cargo-fuzz --version "$version" --locked --root "$tools_dir" ||
        die 'cargo could not install cargo-fuzz' 'see its message above'
fi

for target in ${TARGETS:-file names first_bytes control guest_tar engine_json}; do
    say "$target, $seconds s"
    mkdir -p "fuzz/corpus/$target"
    # No sanitizer: the code has no unsafe parts, and without one it is several times as fast.
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=20 -max_len=16384 -print_final_stats=1 ||
        die "$target found something" 'its input is in fuzz/artifacts; make a test of it'
done
