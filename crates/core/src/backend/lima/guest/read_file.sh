# Prints kind, owner and mode of $1 in one line, then its content. Exit code 44 if it is missing. POSIX sh.
[ -e "$1" ] || [ -L "$1" ] || exit 44
facts=$(stat -c '%u %g %a' "$1") || exit 1
if [ -L "$1" ]; then
    echo "link $facts"
    # Command substitution strips trailing line feeds, so `x` is appended.
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
    echo "not a file, directory or link" >&2
    exit 1
fi
