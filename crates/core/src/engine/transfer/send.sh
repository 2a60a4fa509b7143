# Gives a file or a directory out as a tar stream. $1 user, $2 path. Exit 45 where it isn't there.
user=$1
path=$2
entry=$(getent passwd "$user" 2>/dev/null || grep "^$user:" /etc/passwd) || {
    echo "there is no user $user in this env" >&2
    exit 45
}
home=$(printf '%s\n' "$entry" | cut -d: -f6)
# shellcheck disable=SC2088 # the tilde as it was written
case $path in
'' | '~') path=$home ;;
'~/'*) path=$home/${path#'~/'} ;;
/*) ;;
*) path=$home/$path ;;
esac
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
