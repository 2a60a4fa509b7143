#!/bin/bash
# Every test: the page's, the crates', and those that need a real LXD and a real Incus (private ones, never the user's).
# Prints how many passed and failed as its last line, alone.
#
#   test.sh           all tests
#   test.sh lint      lints first; failed lints fail the run, but the tests are run nevertheless
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"

passed=0
failed=0
broken=()
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

# A step that breaks without a failed test to show for it (a build, say) counts as one failure, so that the last line can
# never look green.
step() { # NAME COMMAND...
    local name=$1 status=0
    shift
    say "$name"
    "$@" || status=$?
    [ $status = 0 ] || broken+=("$name")
    return $status
}

setup() {
    scripts/setup.sh test
    tests/engines/engines.sh up
    tests/engines/lima.sh up
}

page_tests() {
    (cd ui && NO_COLOR=1 npm test --silent) 2>&1 | tee "$log/page"
}

rust_tests() {
    cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log/rust"
}

# A failed test fails the run. Only those that tests/unsteady.toml lists, with their cause and what was tried, are run once
# more, alone; what passes then counts as passed, and is named at the end.
unsteady=()
is_listed() { # SUITE TEST
    grep -qxF "[\"$1 $2\"]" tests/unsteady.toml
}

again() {
    local suite name failed_tests failures
    failed_tests=$(awk '/^ +Running [a-z_]+\/main\.rs / { split($2, part, "/"); suite = part[1] }
        /^ +Running / && !/main\.rs / { suite = "" }
        /^test .* FAILED$/ && suite != "" { print suite, $2 }' "$log/rust" | sort -u)
    [ -n "$failed_tests" ] || return 1
    while read -r suite name; do
        is_listed "$suite" "$name" || continue
        say "once more, alone: $suite $name"
        if timeout 600 cargo test --locked -p lxc-dev-manager-tests --test "$suite" -- --exact "$name" \
            </dev/null 2>&1 | tee "$log/again" && grep -q '^test result: ok\. 1 passed' "$log/again"; then
            unsteady+=("$suite $name")
        fi
    done <<<"$failed_tests"
    failures=$(grep -E '^test .* FAILED$' "$log/rust" | awk '{ print $2 }' | sort -u | wc -l)
    # All that the run had against it were these.
    [ "${#unsteady[@]}" = "$failures" ]
}

rust_tests_steady() { rust_tests || again; }

in_ui() { (cd ui && npm run --silent "$@"); }

# "Tests  1 failed | 11 passed (12)"
count_page() {
    local line
    line=$(grep -E '^ *Tests +[0-9]' "$log/page" 2>/dev/null | tail -n 1) || return 0
    passed=$((passed + $(grep -oE '[0-9]+ passed' <<<"$line" | cut -d' ' -f1 || true) + 0))
    failed=$((failed + $(grep -oE '[0-9]+ failed' <<<"$line" | cut -d' ' -f1 || true) + 0))
}

# "test result: FAILED. 11 passed; 1 failed; …", one a test binary
count_rust() {
    local sums
    [ -f "$log/rust" ] || return 0
    sums=$(awk '/^test result: / {
        for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i - 1); if ($i == "failed;") f += $(i - 1) }
    } END { print p + 0, f + 0 }' "$log/rust")
    passed=$((passed + ${sums% *}))
    failed=$((failed + ${sums#* }))
}

# The suites name their tests by engine, so that nobody takes a skipped engine for a green one.
count_engines() {
    local engine
    [ -f "$log/rust" ] || return 0
    for engine in fake lima-fake lima lxd incus; do
        say "$engine: $(grep -cE "^test $engine::.* ok$" "$log/rust" || true) tests passed"
    done
}

finish() {
    local name
    count_page
    count_rust
    count_engines
    passed=$((passed + ${#unsteady[@]}))
    failed=$((failed - ${#unsteady[@]}))
    for name in ${unsteady[@]+"${unsteady[@]}"}; do say "UNSTEADY, failed in the run and passed alone: $name"; done
    [ ${#broken[@]} = 0 ] || say "broken: $(printf '%s; ' "${broken[@]}")"
    if [ "$failed" = 0 ] && [ ${#broken[@]} != 0 ]; then failed=${#broken[@]}; fi
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
}

main() {
    if step 'what the tests need' setup; then
        use_cargo_cache
        set -a
        eval "$(tests/engines/engines.sh env)"
        set +a
        [ "${1:-}" != lint ] || step lints scripts/lint.sh || true
        # The page comes first: the desktop crate embeds it.
        if step 'the page: build' scripts/ui.sh build; then
            step 'the page: types' in_ui check || true
            step 'the page: tests' page_tests || true
        fi
        # Tests start the programs themselves.
        if step 'the programs: build' cargo build --locked --workspace; then
            step 'the programs: tests' rust_tests_steady || true
        fi
    fi
    finish
}

main "$@"
