#!/bin/bash
# Builds the release binaries.
#
#   build.sh cli    target/release/lxc-dev-manager
#   build.sh app    target/release/lxc-dev-manager-desktop, with its page
#   build.sh        both
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"

cli() {
    cargo build --release --locked -p lxc-dev-manager-cli
}

app() {
    scripts/ui.sh build
    # Without this feature the binary looks for its page at the development server.
    cargo build --release --locked -p lxc-dev-manager-desktop --features custom-protocol
}

case ${1:-} in
    cli | app) "$1" ;;
    '')
        scripts/setup.sh build
        cli
        app
        ;;
    *) die 'usage: build.sh [cli|app]' ;;
esac
