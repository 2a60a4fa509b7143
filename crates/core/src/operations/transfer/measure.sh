# After path.sh: prints how many bytes the stream of send.sh has, nearly: each entry has a head, and what is in a file is
# filled up to whole blocks of 512. Nothing useful where this guest can't tell.
# shellcheck disable=SC2154 # path.sh sets it
find "$path" -exec stat -c '%s %F' {} + 2>/dev/null |
    awk '{ sum += 512 } /regular/ { sum += int(($1 + 511) / 512) * 512 } END { printf "%.0f\n", sum }'
