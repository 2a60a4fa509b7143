# Prints those of its arguments that are not mount points. POSIX sh; /proc/self/mounts escapes blanks as octal numbers.
for path; do
    real=$(cd "$path" 2>/dev/null && pwd -P | sed 's/\\/\\134/g; s/ /\\040/g; s/	/\\011/g')
    grep -qF " $real " /proc/self/mounts && [ -n "$real" ] || printf '%s\n' "$path"
done
