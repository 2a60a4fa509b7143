# Follows path.sh. Sends a file or directory as a tar stream. Exit 45: missing or unusable path.
# shellcheck disable=SC2154 # path.sh sets it
while [ "$path" != "${path%/}" ]; do path=${path%/}; done
if [ -z "$path" ]; then
    echo 'cannot copy the root directory: use `lxc-dev-manager image create`' >&2
    exit 45
fi
if [ ! -e "$path" ] && [ ! -L "$path" ]; then
    printf 'no such file or directory in the env: %s\n' "$path" >&2
    exit 45
fi
if [ ! -L "$path" ] && [ -d "$path" ]; then
    cd "$path" || exit 1
    exec tar -cf - .
fi
directory=${path%/*}
cd "${directory:-/}" || exit 1
exec tar -cf - "./${path##*/}"
