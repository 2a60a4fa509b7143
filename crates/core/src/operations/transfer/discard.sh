# Deletes a received copy. $1 staging directory, $2 the topmost directory created for it, or empty.
staging=$1
top=$2
rm -rf "$staging" || exit 1
[ -n "$top" ] || exit 0
directory=${staging%/*}
# Empty ones only: other files may have been added.
while [ -n "$directory" ]; do
    if [ -d "$directory" ]; then rmdir "$directory" 2>/dev/null || exit 0; fi
    [ "$directory" != "$top" ] || exit 0
    directory=${directory%/*}
done
