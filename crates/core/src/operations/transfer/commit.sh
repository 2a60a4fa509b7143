# Moves a received copy to its target. $1 staging directory, $2 target. Idempotent.
staging=$1
target=$2
item=$staging/item
if [ -e "$item" ] || [ -L "$item" ]; then
    if [ -d "$item" ] && [ ! -L "$item" ] && [ -d "$target" ]; then
        cp -af "$item/." "$target/" || exit 1
    elif [ -d "$target" ] && [ ! -L "$target" ]; then
        echo "$target is a directory" >&2
        exit 45
    elif [ -d "$item" ] && [ ! -L "$item" ] && [ -e "$target" ]; then
        echo "$target is not a directory" >&2
        exit 45
    else
        # A link is replaced, not followed.
        if [ -L "$target" ]; then rm -f "$target"; fi
        mv -f "$item" "$target" || exit 1
    fi
fi
rm -rf "$staging"
