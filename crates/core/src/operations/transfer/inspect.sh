# Follows path.sh. Finds the target of a copy; $3 its name. Prints uid, gid, target and the topmost missing directory
# (or nothing), each ended by NUL. Exit 44: the target's directory is missing (its path is on stderr); 45: unusable path.
# shellcheck disable=SC2154 # path.sh sets them
uid=$(printf '%s\n' "$entry" | cut -d: -f3)
gid=$(printf '%s\n' "$entry" | cut -d: -f4)
name=$3
if [ -d "$path" ]; then
    # Without a name (`.`) it is merged into the directory.
    # The typed path may be a link; then the directory behind it is meant.
    if [ -n "$name" ]; then
        target=${path%/}/$name
    else
        target=$(cd "$path" && pwd -P && echo .) || exit 1
        target=${target%?.}
    fi
else
    case $path in
    */) target=$path$name ;;
    *) target=$path ;;
    esac
fi
parent=${target%/*}
top=
above=$parent
while [ -n "$above" ] && [ ! -d "$above" ]; do
    top=$above
    if [ -e "$top" ]; then
        echo "$top is not a directory" >&2
        exit 45
    fi
    above=${top%/*}
done
printf '%s\0%s\0%s\0%s\0' "$uid" "$gid" "$target" "$top"
if [ -n "$top" ]; then
    printf '%s\n' "$parent" >&2
    exit 44
fi
