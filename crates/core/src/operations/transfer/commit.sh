# Moves a received copy to its target, or nothing: the whole merge is checked first. $1 staging directory, $2 target.
# Idempotent. Links are replaced, never followed.
staging=$1
target=$2
item=$staging/item

# For paths below the item: a directory is merged with a directory only, and nothing else replaces a directory.
# Prints what is in the way.
check='
target=$1
shift
for path; do
    there=$target/${path#./}
    if [ -d "$path" ] && [ ! -L "$path" ]; then
        if [ -L "$there" ]; then
            printf "%s is a symbolic link, and the copy has a directory there\\n" "$there"
        elif [ -e "$there" ] && [ ! -d "$there" ]; then
            printf "%s is a file, and the copy has a directory there\\n" "$there"
        fi
    elif [ -d "$there" ] && [ ! -L "$there" ]; then
        printf "%s is a directory, and the copy has a file there\\n" "$there"
    fi
done'
# cp writes through a link, a pipe or a device, so these go first.
unlink='
target=$1
shift
for path; do
    there=$target/$path
    if [ -L "$there" ] || { [ -e "$there" ] && [ ! -f "$there" ]; }; then
        rm -f "$there" || exit 1
    fi
done'

refuse() {
    printf '%s\n' "$1; nothing was copied" >&2
    exit 45
}

if [ -e "$item" ] || [ -L "$item" ]; then
    if [ -d "$item" ] && [ ! -L "$item" ]; then
        [ ! -L "$target" ] || refuse "$target is a symbolic link, and the copy is a directory"
        if [ -d "$target" ]; then
            cd "$item" || exit 1
            found=$(find . -exec sh -c "$check" sh "$target" {} + | head -n 1)
            [ -z "$found" ] || refuse "$found"
            find . ! -type d -exec sh -c "$unlink" sh "$target" {} + || exit 1
            cp -af ./. "$target/" || exit 1
            cd /
        else
            [ ! -e "$target" ] || refuse "$target is not a directory"
            mv -f "$item" "$target" || exit 1
        fi
    else
        if [ -d "$target" ] && [ ! -L "$target" ]; then refuse "$target is a directory"; fi
        # mv would move into the directory behind a link.
        if [ -L "$target" ]; then rm -f "$target" || exit 1; fi
        mv -f "$item" "$target" || exit 1
    fi
fi
rm -rf "$staging"
