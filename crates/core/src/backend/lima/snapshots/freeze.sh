# Holds the disk still, so that a copy of it is one of a moment: its file systems are frozen. POSIX sh.
# Says `still` when it is, and lets go at the end of stdin, or after $1 seconds: nobody who has to write can end it then.
# Ends with 0 where it was still all that time, with 3 where it can't be.
for freezer in /usr/sbin/fsfreeze /sbin/fsfreeze /usr/bin/fsfreeze /bin/fsfreeze; do
    [ ! -x "$freezer" ] || break
done
[ -x "$freezer" ] && command -v setsid >/dev/null || exit 3
# What is on disks and can be written; each once, the root last. The firmware's (vfat) can't be frozen.
root=$(awk '$2 == "/" { device = $1 } END { print device }' /proc/self/mounts)
others=$(awk -v root="$root" '$1 ~ /^\/dev\// && $1 != root && $3 != "vfat" && $4 ~ /^rw/ && !seen[$1]++ { print $2 }' \
    /proc/self/mounts)
longest=$1
# shellcheck disable=SC2086 # one word each
set -- $others /
sync
# Words, for busybox has no letters. In a session of its own: what ends us doesn't end it.
# shellcheck disable=SC2016 # the other shell's own
setsid sh -c '
    sleep "$1" &
    trap "kill $!; exit" TERM
    wait
    shift
    freezer=$1
    shift
    for place; do "$freezer" --unfreeze "$place"; done
' sh "$longest" "$freezer" "$@" </dev/null >/dev/null 2>&1 &
guard=$!
frozen=
code=0
for place; do
    "$freezer" --freeze "$place" || {
        code=3
        break
    }
    # What was frozen last is let go first.
    frozen="$place $frozen"
done
if [ $code = 0 ]; then
    echo still
    cat >/dev/null
fi
for place in $frozen; do
    # Fails where the guard was first.
    "$freezer" --unfreeze "$place" || code=1
done
kill "$guard"
exit "$code"
