# After path.sh: gives a file or a directory out as a tar stream. Exit 45 where it isn't there.
# shellcheck disable=SC2154 # path.sh sets it
while [ "$path" != "${path%/}" ]; do path=${path%/}; done
if [ -z "$path" ]; then
    echo 'the whole of an env is an image: `lxc-dev-manager image create`' >&2
    exit 45
fi
if [ ! -e "$path" ] && [ ! -L "$path" ]; then
    printf 'there is no %s in this env\n' "$path" >&2
    exit 45
fi
if [ ! -L "$path" ] && [ -d "$path" ]; then
    # `.` and `..` have no name of their own.
    cd "$path" || exit 1
    exec tar -cf - .
fi
directory=${path%/*}
cd "${directory:-/}" || exit 1
exec tar -cf - "./${path##*/}"
