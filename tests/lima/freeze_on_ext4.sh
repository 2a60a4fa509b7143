#!/bin/sh
# still.sh on a file system of its own, with the kernel's fsfreeze: a copy of the disk under a writer that never rests.
# As root, in a mount namespace of its own. $1: a root as a tar; $2: still.sh; $3: an empty directory; $4: raw, or qcow2,
# which qemu's own code writes, with what it keeps in memory.
set -eu
cd "$3"
format=$4
seen=disk
writer=
daemon=
end() {
    for process in $writer $daemon; do
        kill "$process" 2>/dev/null || :
        wait "$process" || :
    done
}
trap end EXIT
if [ "$format" = raw ]; then
    truncate -s 512M disk
else
    seen=export
    : >$seen
    qemu-img create -q -f "$format" disk 512M
    # Nobody waits for what it says: it may be the last that lives.
    qemu-storage-daemon --blockdev driver=file,node-name=file,filename=disk \
        --blockdev "driver=$format,node-name=disk,file=file,discard=unmap" \
        --export type=fuse,id=export,node-name=disk,mountpoint=$seen,writable=on >daemon.log 2>&1 &
    daemon=$!
    tries=0
    until [ -s $seen ]; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "nobody exports the disk"; cat daemon.log; exit 1; }
        sleep 0.1
    done
fi
mkfs.ext4 -q $seen
mkdir root
mount -o loop $seen root
tar -C root -xpf "$1"
mkdir -p root/dev
mount --bind /dev root/dev
cp "$2" root/still.sh
# Each file's number is in the log before it.
cat >root/writer.sh <<'END'
i=0
while :; do
    i=$((i + 1))
    echo $i >>/log
    echo $i >/file.$((i % 50))
    [ $((i % 200)) != 0 ] || sync
done
END
chroot root /bin/sh /writer.sh &
writer=$!
sleep 1
mkfifo input
chroot root /bin/sh /still.sh 60 <input >output &
holder=$!
exec 9>input
tries=0
until grep -qx frozen output; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "it never was still"; exit 1; }
    sleep 0.1
done
cp --sparse=always disk copy
sleep 0.5
cmp disk copy || { echo "it was written to"; exit 1; }
exec 9>&-
wait $holder || { echo "it wasn't still to the end: $?"; exit 1; }
tries=0
while cmp -s disk copy; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "nobody writes any more"; exit 1; }
    sleep 0.1
done
# The freezing process does not thaw it.
mkfifo again
chroot root /bin/sh /still.sh 1 <again >/dev/null 2>&1 &
holder=$!
exec 9>again
sleep 3
timeout 5 touch root/after || { echo "it is not thawed"; exit 1; }
exec 9>&-
! wait $holder || { echo "it says that it was still"; exit 1; }
# The copy is whole, with everything that was written.
if [ "$format" != raw ]; then
    qemu-img check copy >check 2>&1 || { cat check; exit 1; }
    qemu-img convert -O raw copy bytes
    mv bytes copy
fi
fsck.ext4 -fn copy >fsck 2>&1 || { cat fsck; exit 1; }
mkdir whole
mount -o loop,ro,noload copy whole
last=$(tail -n 1 whole/log)
for number in "$last" $((last - 1)); do
    [ "$(cat whole/file.$((number % 50)))" = "$number" ] && exit 0
done
echo "after $last: $(cat whole/file.$((last % 50)))"
exit 1
