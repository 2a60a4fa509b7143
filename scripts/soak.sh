#!/bin/bash
# Forwards under load while envs and processes around them come and go, on both private engines at once.
#
#   soak.sh [SECONDS]     default 600
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"
scripts/setup.sh test
tests/engines/engines.sh up
scripts/build.sh cli
set -a
eval "$(tests/engines/engines.sh env)"
set +a
exec cargo bench --quiet --locked -p lxc-dev-manager-tests --bench soak -- "${1:-600}"
