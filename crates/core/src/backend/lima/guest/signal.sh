# Sends signal $1 to a run. Its id comes on stdin, so that it isn't in our own arguments. The command is a child of the
# sudo that has the id as an argument; with a terminal there is a second sudo in between.
read -r run || exit 1
for directory in /proc/[0-9]*; do
    # Fails for processes that have ended meanwhile.
    if { tr '\0' '\n' <"$directory/cmdline" | grep -qxF -- "$run"; } 2>/dev/null; then
        process=${directory#/proc/}
        while :; do
            name=$(cat "/proc/$process/comm" 2>/dev/null)
            [ "$name" = sudo ] || break
            below=$(cat "/proc/$process/task/$process/children" 2>/dev/null)
            below=${below%% *}
            [ -n "$below" ] || break
            process=$below
        done
        kill -"$1" "$process" 2>/dev/null && exit 0
    fi
done
exit 0
