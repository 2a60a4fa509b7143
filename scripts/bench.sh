#!/bin/bash
# Measures the release binaries against real engines (private ones, as the tests).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"
scripts/setup.sh test
tests/engines/engines.sh up
scripts/build.sh
set -a
eval "$(tests/engines/engines.sh env)"
set +a
exec cargo bench --locked -p lxc-dev-manager-tests "$@"
