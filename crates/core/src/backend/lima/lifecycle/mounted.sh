# Prints those of its arguments that nothing is mounted at. POSIX sh; the kernel writes what would part a line as numbers.
for place; do
    real=$(cd "$place" 2>/dev/null && pwd -P | sed 's/\\/\\134/g; s/ /\\040/g; s/	/\\011/g')
    grep -qF " $real " /proc/self/mounts && [ -n "$real" ] || printf '%s\n' "$place"
done
