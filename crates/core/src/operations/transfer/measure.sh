# Follows path.sh. Prints the approximate size of the stream of send.sh: per entry a header of 512 bytes, and the content
# of a file in blocks of 512.
# shellcheck disable=SC2154 # path.sh sets it
find "$path" -exec stat -c '%s %F' {} + 2>/dev/null |
    awk '{ sum += 512 } /regular/ { sum += int(($1 + 511) / 512) * 512 } END { printf "%.0f\n", sum }'
