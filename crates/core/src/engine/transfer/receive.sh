# Takes a tar stream in. $1 staging directory, $2 uid:gid of directories that have to be made for it; stdin: tar.
set -e
staging=$1
owner=$2
parent=${staging%/*}
if [ -n "$parent" ] && [ ! -d "$parent" ]; then
    # The uppermost one that is missing, for all that are made belong to the user.
    top=$parent
    above=${top%/*}
    while [ -n "$above" ] && [ ! -d "$above" ]; do
        top=$above
        above=${top%/*}
    done
    mkdir -p "$parent"
    chown -R "$owner" "$top"
fi
mkdir -m 0700 "$staging"
# As root it keeps the owners of the stream, which are numbers.
exec tar -xpf - -C "$staging"
