#!/bin/bash
# Builds the release binaries.
#
#   build.sh cli    target/release/lxc-dev-manager
#   build.sh app    target/release/lxc-dev-manager-desktop and lxc-dev-manager-window, with the window's page
#   build.sh        all three
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"

# Always for both packages, whichever program is wanted: cargo chooses the features of the libraries that they share by that,
# and with the same ones it builds none of them twice.
release() { # FLAG OF CARGO...
    cargo build --release --locked -p lxc-dev-manager-cli -p lxc-dev-manager-desktop "$@"
}

# Where there is no app, its libraries needn't even be fetched.
cli() {
    if wants_app; then release --bin lxc-dev-manager; else cargo build --release --locked -p lxc-dev-manager-cli; fi
}

app() {
    scripts/ui.sh build
    release --bin lxc-dev-manager-desktop --bin lxc-dev-manager-window
}

all() {
    scripts/setup.sh build
    scripts/ui.sh build
    release
}

case ${1:-} in
    cli | app) "$1" ;;
    '') all ;;
    *) die 'usage: build.sh [cli|app]' ;;
esac
