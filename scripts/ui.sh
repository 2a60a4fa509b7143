#!/bin/bash
# The window's page: its npm packages, and what is built from it.
#
#   ui.sh deps     npm ci, unless the packages of this lock file are there already
#   ui.sh build    vite build into ui/dist, unless that is newer than all of its sources
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo/ui"

# With CI=true every clone is new: what npm has fetched and unpacked is kept outside of it, one set a lock file.
cache=
if [ "${CI:-}" = true ]; then
    cache=${LDM_CACHE_DIR:-/var/tmp/ldm-cache}
    export npm_config_cache=$cache/npm
fi

deps() {
    local key stamp=node_modules/.lxc-dev-manager-lock kept old
    key=$({ cat package-lock.json; node --version; uname -m; } | sha256sum | cut -c1-16)
    [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0
    kept=$cache/node_modules-$key
    rm -rf node_modules
    if [ -n "$cache" ] && [ -d "$kept" ]; then
        # Links, not copies, where both are on one file system: nothing writes into these files.
        cp -al "$kept" node_modules 2>/dev/null || { rm -rf node_modules; cp -a "$kept" node_modules; }
        return
    fi
    npm ci --no-fund --no-audit --loglevel=error || die 'npm ci failed' 'see its message above; is the npm registry reachable?'
    echo "$key" >"$stamp"
    [ -n "$cache" ] || return 0
    for old in "$cache"/node_modules-*; do rm -rf "$old"; done
    mkdir -p "$cache"
    # Under another name until it is whole: a second run must never find half of it.
    cp -al node_modules "$kept.$$" 2>/dev/null || { rm -rf "$kept.$$"; cp -a node_modules "$kept.$$"; }
    mv -T "$kept.$$" "$kept" 2>/dev/null || rm -rf "$kept.$$"
}

build() {
    deps
    [ ! -f dist/index.html ] || [ -n "$(find . \( -name node_modules -o -name dist \) -prune -o -type f -newer dist/index.html -print -quit)" ] ||
        return 0
    npm run --silent build
}

case ${1:-} in
    deps | build) "$1" ;;
    *) die 'usage: ui.sh deps|build' ;;
esac
