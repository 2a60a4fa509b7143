#!/bin/bash
# Formatting and lints of everything: Rust, the page, shell. Runs all of them, and fails if one did.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"
use_cargo_cache

failed=()
check() { # NAME COMMAND...
    local name=$1
    shift
    say "$name"
    "$@" || failed+=("$name")
}

in_ui() { (cd ui && npm run --silent "$@"); }

shell_files() {
    shellcheck -x .ci/run scripts/*.sh tests/engines/*.sh
}

# These run in guests, handed to sh as they are: no first line says which shell they are for. Unused names of columns that
# `read` splits are there for the reader.
guest_scripts() {
    local scripts
    mapfile -t scripts < <(git ls-files 'crates/*.sh')
    [ ${#scripts[@]} = 0 ] || shellcheck -s sh -e SC2034 "${scripts[@]}"
}

# Public items need a doc. Fields and variants need one only where the name doesn't say it all, so rustc's own lint is off.
public_docs() {
    ! cargo clippy --locked -p lxc-dev-manager-core --lib --message-format=short -- -W missing_docs 2>&1 |
        grep 'missing documentation for' | grep -vE 'for a (struct field|variant)$'
}

# The desktop crate embeds the page, so even clippy needs it built.
check 'build of the page' scripts/ui.sh build
check 'lint of the page' in_ui lint
check 'prose' scripts/lint-prose.sh
check 'cargo fmt' cargo fmt --all --check
check 'cargo clippy' cargo clippy --locked --workspace --all-targets -- -D warnings
check 'docs of public items' public_docs
check 'cargo clippy for macOS' scripts/lint-darwin.sh
if command -v shellcheck >/dev/null; then
    check 'shellcheck of our scripts' shell_files
    check 'shellcheck of scripts for guests' guest_scripts
else
    say 'shellcheck is not installed: shell files are not checked'
fi
[ ${#failed[@]} = 0 ] || die "failed: $(printf '%s; ' "${failed[@]}")"
