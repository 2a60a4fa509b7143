#!/bin/bash
# Measures the release binaries against real engines (private ones, as the tests).
#
#   bench.sh [PART...]    start, list, exec, clone, files, create, ports, app, lima; all without an argument
#   WRITE=1 bench.sh      writes what it has measured into docs/benchmarks.md
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"
scripts/setup.sh test
tests/engines/engines.sh up
tests/engines/lima.sh up
scripts/build.sh
set -a
eval "$(tests/engines/engines.sh env)"
set +a
export LDM_BENCH_WRITE=${WRITE:-}
exec cargo bench --quiet --locked -p lxc-dev-manager-tests --bench engines -- "$@"
