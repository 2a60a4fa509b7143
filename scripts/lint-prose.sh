#!/bin/bash
# Checks language: retired words in code and docs, the length of commit subjects, and the prose of the docs (textlint).
#
#   LINT_BASE   the commit after which subjects are checked
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$repo"

# Older subjects are longer.
first=b20f7f1f9c347699e01dcc60820dac352cc01142
longest=72
failed=no

files() { # PATTERN…: tracked and new files that exist
    git ls-files -co --exclude-standard -- "$@" ':!scripts/prose' | sort -u | while read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done
}

retired_words() {
    files '*.rs' '*.ts' '*.svelte' '*.md' '*.sh' | perl scripts/prose/retired-words.pl
}

subjects() {
    local base=${LINT_BASE:-$first}
    if ! git merge-base --is-ancestor "$base" HEAD 2>/dev/null; then
        say "commit $base is not in the history: subjects are not checked"
        return
    fi
    git log --no-merges --format='%h %s' "$base..HEAD" | perl -CS -ne '
        chomp;
        my ($id, $subject) = split / /, $_, 2;
        next if length $subject <= '$longest';
        print "$id: the subject has ", length $subject, " characters, at most '$longest' are allowed: $subject\n";
        $found = 1;
        END { exit($found ? 1 : 0) }'
}

# Prints a directory with the linter. It is outside of the clone, one for each lock file.
linter() {
    local base=$tools_dir dir new
    if [ "${CI:-}" = true ]; then
        base=${LDM_CACHE_DIR:-/var/tmp/ldm-cache}
        export npm_config_cache=$base/npm
    fi
    dir=$base/prose-$({ cat scripts/prose/package-lock.json; node --version; } | sha256sum | cut -c1-16)
    if [ ! -d "$dir" ]; then
        mkdir -p "$base"
        rm -rf "$base"/prose-*
        new=$base/new-prose-$$
        mkdir "$new"
        cp scripts/prose/package.json scripts/prose/package-lock.json scripts/prose/.npmrc "$new"
        (cd "$new" && npm ci --no-fund --no-audit --loglevel=error) >&2 ||
            die 'npm ci failed' 'see its message above; is the npm registry reachable?'
        mv -T "$new" "$dir" 2>/dev/null || rm -rf "$new"
    fi
    echo "$dir"
}

prose() {
    local dir pages
    dir=$(linter) || return
    mapfile -t pages < <(files '*.md' | sed "s|^|$repo/|")
    # It looks for its rules below the current directory.
    (cd "$dir" && node_modules/.bin/textlint --config "$repo/scripts/prose/textlint.json" --format unix "${pages[@]}") |
        sed "s|^$repo/||"
}

check() { # NAME COMMAND
    "$2" || { failed=yes; say "failed: $1"; }
}

check 'retired words' retired_words
check 'commit subjects' subjects
check 'prose' prose
[ $failed = no ] || exit 1
