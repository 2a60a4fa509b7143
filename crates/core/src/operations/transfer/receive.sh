# Takes a tar stream in. $1 staging directory, $2 uid:gid of directories that have to be made for it, $3 the uppermost of
# these, or nothing; stdin: tar.
set -e
staging=$1
owner=$2
top=$3
parent=${staging%/*}
if [ -n "$top" ] && [ ! -d "$parent" ]; then
    mkdir -p "$parent"
    # All that are made belong to the user.
    chown -R "$owner" "$top"
fi
mkdir -m 0700 "$staging"
# As root it keeps the owners of the stream, which are numbers.
exec tar -xpf - -C "$staging"
