# Deletes what was taken in of a stream. $1 staging directory, $2 the uppermost directory that was made for it, or nothing.
staging=$1
top=$2
rm -rf "$staging" || exit 1
[ -n "$top" ] || exit 0
directory=${staging%/*}
# Only what is empty: somebody may have put something there.
while [ -n "$directory" ]; do
    if [ -d "$directory" ]; then rmdir "$directory" 2>/dev/null || exit 0; fi
    [ "$directory" != "$top" ] || exit 0
    directory=${directory%/*}
done
