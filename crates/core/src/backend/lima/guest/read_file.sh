# Prints what stands at $1: kind, owner and mode in a line, then its content. Exit code 44 where nothing does. POSIX sh.
[ -e "$1" ] || [ -L "$1" ] || exit 44
facts=$(stat -c '%u %g %a' "$1") || exit 1
if [ -L "$1" ]; then
    echo "link $facts"
    # What is captured loses line feeds at its end, so there is something behind them.
    target=$(readlink "$1" && echo x) || exit 1
    printf %s "${target%?x}"
elif [ -d "$1" ]; then
    echo "directory $facts"
    for entry in "$1"/* "$1"/.*; do
        case ${entry##*/} in . | ..) continue ;; esac
        if [ -e "$entry" ] || [ -L "$entry" ]; then printf '%s\000' "${entry##*/}"; fi
    done
elif [ -f "$1" ]; then
    echo "file $facts"
    exec cat "$1"
else
    echo "it is no file, directory or link" >&2
    exit 1
fi
