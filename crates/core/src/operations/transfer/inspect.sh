# After path.sh: finds where something goes. $3 its name. Prints uid, gid, target, and the uppermost directory that is
# missing on the way (or nothing), each ended by NUL. Exit 44 where the target's directory isn't there (its name is on
# stderr), 45 where it can't go there.
# shellcheck disable=SC2154 # path.sh sets them
uid=$(printf '%s\n' "$entry" | cut -d: -f3)
gid=$(printf '%s\n' "$entry" | cut -d: -f4)
name=$3
if [ -d "$path" ]; then
    # What has no name of its own (`.`) goes into the directory itself.
    if [ -n "$name" ]; then target=${path%/}/$name; else target=$path; fi
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
        echo "$top is no directory" >&2
        exit 45
    fi
    above=${top%/*}
done
printf '%s\0%s\0%s\0%s\0' "$uid" "$gid" "$target" "$top"
if [ -n "$top" ]; then
    printf '%s\n' "$parent" >&2
    exit 44
fi
