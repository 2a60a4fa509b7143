# Becomes a program that was put into this guest. $1 where it is, $2 where it has just been written, or nothing. POSIX sh.
# A program that is half written has another name, so whatever is found is whole.
if [ -n "$2" ]; then
    mv -f "$2" "$1" || exit 126
fi
[ -e "$1" ] || exit 127
exec "$1"
