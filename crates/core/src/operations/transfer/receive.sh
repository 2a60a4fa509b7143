# Receives a tar stream. $1 staging directory, $2 uid:gid of created directories, $3 the topmost of these, or empty;
# stdin: tar.
set -e
staging=$1
owner=$2
top=$3
parent=${staging%/*}
if [ -n "$top" ] && [ ! -d "$parent" ]; then
    mkdir -p "$parent"
    chown -R "$owner" "$top"
fi
mkdir -m 0700 "$staging"
# As root, tar keeps the numeric owners of the stream.
exec tar -xpf - -C "$staging"
