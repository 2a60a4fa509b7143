#!/bin/sh
# Makes a small container image for LXD and Incus: busybox is its init and its shell, and there is no bash, no systemd, no
# package manager and nothing that makes users. sshd and sudo are Debian's, with their libraries.
#
#   make-busybox-image.sh DIR
#
# Prints the directory below DIR that holds metadata.tar.xz and rootfs.squashfs. Its name carries a hash of this file, and
# of the image of make-image.sh that it takes from. Needs root, squashfs-tools, and apt's busybox-static.
set -eu
umask 022

die() { printf 'make-busybox-image: %s\n' "$*" >&2; exit 1; }
say() { printf 'make-busybox-image: %s\n' "$*" >&2; }

# Files of the base that are copied, with what they load.
programs='usr/sbin/sshd usr/bin/ssh-keygen usr/bin/sudo usr/lib/openssh/sftp-server usr/libexec/sudo/sudoers.so'
modules='pam_unix.so pam_permit.so pam_deny.so'

tree() { # ROOT
    root=${1:?}
    for name in usr/bin usr/sbin usr/lib usr/lib64 dev proc sys run tmp root home var/log var/lib etc/init.d etc/pam.d \
        etc/sudoers.d etc/ssh usr/share/udhcpc; do
        mkdir -p "$root/$name"
    done
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    chmod 1777 "$root/tmp"
    chmod 0700 "$root/root"
}

busybox() { # ROOT DOWNLOADS
    root=${1:?}
    mkdir "$2"
    # A machine that has everything else may never have asked for the lists of packages.
    (cd "$2" && { apt-get -q download busybox-static || { apt-get -q update && apt-get -q download busybox-static; }; }) \
        >"$log" 2>&1 || die "apt-get could not get busybox-static; see $log"
    # Debian 13 has moved it below usr.
    dpkg-deb -x "$2"/busybox-static_*.deb "$2/unpacked"
    for file in "$2/unpacked/bin/busybox" "$2/unpacked/usr/bin/busybox"; do
        [ ! -f "$file" ] || cp "$file" "$root/bin/busybox"
    done
    chmod 0755 "$root/bin/busybox"
    chroot "$root" /bin/busybox --install -s /bin
    ln -s ../bin/busybox "$root/sbin/init"
    # Its dpkg and rpm install nothing; they would only look like a distribution's.
    for name in dpkg dpkg-deb rpm; do rm -f "$root/bin/$name"; done
}

# sshd, sudo and what they load, as the base's own loader finds it.
with_libraries() { # ROOT BASE
    root=${1:?}
    files=$programs
    multiarch=$(cd "$2/usr/lib" && echo *-linux-gnu)
    for module in $modules; do files="$files usr/lib/$multiarch/security/$module"; done
    # shellcheck disable=SC2046,SC2086 # one word a file
    loaded=$(chroot "$2" ldd $(printf '/%s ' $files) | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u)
    for file in $files usr/libexec/sudo/libsudo_util.so.0 $loaded; do
        mkdir -p "$root/$(dirname "${file#/}")"
        # A link leads to a file of the base, and not to this machine's of that name.
        real=$(chroot "$2" readlink -f "/${file#/}")
        cp --preserve=mode "$2$real" "$root/${file#/}"
    done
    chmod 4755 "$root/usr/bin/sudo"
}

accounts() { # ROOT
    root=${1:?}
    cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
sshd:x:74:74:sshd:/run/sshd:/bin/false
ftp:x:21:21:a service:/var/lib/ftp:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
END
    # No end of the last line, as people leave files behind.
    printf 'root:x:0:\nusers:x:100:\nsshd:x:74:\nftp:x:21:\nnobody:x:65534:' >"$root/etc/group"
    (
        umask 077
        printf '%s:!:19700::::::\n' root sshd ftp nobody >"$root/etc/shadow"
    )
    (
        umask 0337
        echo 'root ALL=(ALL) ALL' >"$root/etc/sudoers"
    )
    printf '%s\n' 'auth required pam_unix.so' 'account required pam_unix.so' 'session required pam_permit.so' \
        'password required pam_deny.so' >"$root/etc/pam.d/other"
    echo /bin/sh >"$root/etc/shells"
}

boot() { # ROOT
    root=${1:?}
    echo '::sysinit:/etc/init.d/rcS' >"$root/etc/inittab"
    cat >"$root/etc/init.d/rcS" <<'END'
#!/bin/sh
hostname -F /etc/hostname
ifconfig lo up
ifconfig eth0 up
udhcpc -b -S -T 1 -A 1 -t 10 -i eth0 -s /usr/share/udhcpc/default.script
END
    cat >"$root/usr/share/udhcpc/default.script" <<'END'
#!/bin/sh
case $1 in
    deconfig) ifconfig "$interface" 0.0.0.0 ;;
    bound | renew)
        ifconfig "$interface" "$ip" netmask "$subnet"
        [ -z "$router" ] || route add default gw "${router%% *}" dev "$interface" 2>/dev/null
        for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
        ;;
esac
END
    chmod 0755 "$root/etc/init.d/rcS" "$root/usr/share/udhcpc/default.script"
}

metadata() { # DIR
    mkdir "$1/templates"
    printf '{{ container.name }}\n' >"$1/templates/hostname.tpl"
    cat >"$1/metadata.yaml" <<END
architecture: $(uname -m)
creation_date: $(date +%s)
properties:
  os: busybox
  release: test
  architecture: $(dpkg --print-architecture)
  description: busybox with sshd and sudo
templates:
  /etc/hostname: {when: [create, copy], template: hostname.tpl}
END
    tar -C "$1" --owner=0 --group=0 -cJf "$1/metadata.tar.xz" metadata.yaml templates
    rm -rf "$1/metadata.yaml" "$1/templates"
}

[ $# -eq 1 ] || die "usage: make-busybox-image.sh DIR"
[ "$(id -u)" = 0 ] || die "must be root, to own the files of the image"

mkdir -p "$1"
dir=$(cd "$1" && pwd)
base=$("$(dirname "$0")/make-image.sh" debian/12 "$dir")
recipe=$({ cat "$0" && basename "$base"; } | sha256sum | cut -c1-12)
out=$dir/busybox-$recipe
if [ -f "$out/rootfs.squashfs" ]; then
    echo "$out"
    exit 0
fi

work=$(mktemp -d "$dir/.work.XXXXXX")
log=$dir/build-busybox.log
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir "$work/out" "$work/root"
say 'busybox, with sshd and sudo of the other image'
unsquashfs -q -n -d "$work/base" "$base/rootfs.squashfs" >"$log" 2>&1 || die "unsquashfs failed; see $log"
tree "$work/root"
busybox "$work/root" "$work/downloads"
with_libraries "$work/root" "$work/base"
accounts "$work/root"
boot "$work/root"
metadata "$work/out"
mksquashfs "$work/root" "$work/out/rootfs.squashfs" -noappend -quiet -no-progress -comp zstd -Xcompression-level 6 \
    >"$log" 2>&1 || die "mksquashfs failed; see $log"
# The last step, and atomic: a killed build leaves nothing that looks finished.
mv "$work/out" "$out"
echo "$out"
