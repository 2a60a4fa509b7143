# Finds where something goes. $1 user, $2 path, $3 its name. Prints uid, gid and target, each ended by NUL.
# Exit 44 where the target's directory isn't there (its name is on stderr), 45 where it can't go there.
user=$1
path=$2
name=$3
entry=$(getent passwd "$user" 2>/dev/null || grep "^$user:" /etc/passwd) || {
    echo "there is no user $user in this env" >&2
    exit 45
}
uid=$(printf '%s\n' "$entry" | cut -d: -f3)
gid=$(printf '%s\n' "$entry" | cut -d: -f4)
home=$(printf '%s\n' "$entry" | cut -d: -f6)
# shellcheck disable=SC2088 # the tilde as it was written
case $path in
'' | '~') path=$home ;;
'~/'*) path=$home/${path#'~/'} ;;
/*) ;;
*) path=$home/$path ;;
esac
if [ -d "$path" ]; then
    # What has no name of its own (`.`) goes into the directory itself.
    if [ -n "$name" ]; then target=${path%/}/$name; else target=$path; fi
else
    case $path in
    */) target=$path$name ;;
    *) target=$path ;;
    esac
fi
printf '%s\0%s\0%s\0' "$uid" "$gid" "$target"
parent=${target%/*}
if [ -n "$parent" ] && [ ! -d "$parent" ]; then
    if [ -e "$parent" ]; then
        echo "$parent is no directory" >&2
        exit 45
    fi
    printf '%s\n' "$parent" >&2
    exit 44
fi
