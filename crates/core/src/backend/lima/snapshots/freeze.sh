# Freezes the file systems on the disk, so that a copy of it is consistent. POSIX sh.
# Prints `frozen`, and thaws at the end of stdin or after $1 seconds: no process that has to write could end it then.
# Exit code 0: frozen for the whole time; 3: cannot freeze.
for freezer in /usr/sbin/fsfreeze /sbin/fsfreeze /usr/bin/fsfreeze /bin/fsfreeze; do
    [ ! -x "$freezer" ] || break
done
[ -x "$freezer" ] && command -v setsid >/dev/null || exit 3
# Writable file systems on disks, each once, the root last. vfat (the firmware's) can't be frozen.
root=$(awk '$2 == "/" { device = $1 } END { print device }' /proc/self/mounts)
others=$(awk -v root="$root" '$1 ~ /^\/dev\// && $1 != root && $3 != "vfat" && $4 ~ /^rw/ && !seen[$1]++ { print $2 }' \
    /proc/self/mounts)
longest=$1
# shellcheck disable=SC2086 # one word each
set -- $others /
sync
# Long options: busybox has no short ones. In a session of its own, which survives the end of this script.
# shellcheck disable=SC2016 # expanded by the inner shell
setsid sh -c '
    sleep "$1" &
    trap "kill $!; exit" TERM
    wait
    shift
    freezer=$1
    shift
    for mount; do "$freezer" --unfreeze "$mount"; done
' sh "$longest" "$freezer" "$@" </dev/null >/dev/null 2>&1 &
guard=$!
frozen=
code=0
for mount; do
    "$freezer" --freeze "$mount" || {
        code=3
        break
    }
    # Thawed in reverse order.
    frozen="$mount $frozen"
done
if [ $code = 0 ]; then
    echo frozen
    cat >/dev/null
fi
for mount in $frozen; do
    # Fails if the guard was first.
    "$freezer" --unfreeze "$mount" || code=1
done
kill "$guard"
exit "$code"
