# Holds the root's file system still, so that a copy of the disk is one of a moment. POSIX sh.
# Says `still` when it is, and lets go at the end of stdin, or after $1 seconds: nobody who has to write can end it then.
# Ends with 0 where it was still all that time, with 3 where it can't be.
for freezer in /usr/sbin/fsfreeze /sbin/fsfreeze /usr/bin/fsfreeze /bin/fsfreeze; do
    [ ! -x "$freezer" ] || break
done
[ -x "$freezer" ] && command -v setsid >/dev/null || exit 3
sync
# Words, for busybox has no letters. In a session of its own: what ends us doesn't end it.
# shellcheck disable=SC2016 # the other shell's own
setsid sh -c 'sleep "$1" & trap "kill $!; exit" TERM; wait; "$2" --unfreeze /' sh "$1" "$freezer" </dev/null >/dev/null 2>&1 &
guard=$!
if "$freezer" --freeze /; then
    echo still
    cat >/dev/null
    # Fails where the guard was first.
    "$freezer" --unfreeze /
    code=$?
else
    code=3
fi
kill "$guard"
exit "$code"
