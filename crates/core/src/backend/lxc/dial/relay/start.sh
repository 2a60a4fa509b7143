# Executes a program that was written into this guest. $1 its path, $2 the path of a new copy, or
# empty. POSIX sh.
# A partially written program has another name, so an existing one is complete.
if [ -n "$2" ]; then
    mv -f "$2" "$1" || exit 126
fi
[ -e "$1" ] || exit 127
exec "$1"
