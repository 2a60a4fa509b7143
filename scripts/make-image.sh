#!/bin/sh
# Makes a container image for LXD and Incus from Debian packages, for machines that reach no image server.
#
#   make-image.sh debian/12 DIR          a Debian 12 with systemd, sshd and sudo
#   make-image.sh debian/12-tools DIR    the same with python3, iperf3 and socat
#   make-image.sh debian/12-docker DIR   the same with Docker
#
# Prints the directory below DIR that holds metadata.tar.xz and rootfs.squashfs. Its name carries a hash of this file: a
# changed recipe is rebuilt, an unchanged one is found there again. Needs root, debootstrap and squashfs-tools.
set -eu
umask 022

suite=bookworm
packages=systemd-sysv,openssh-server,sudo,iproute2,ca-certificates,dbus,udev,isc-dhcp-client,ifupdown
tools='python3 iperf3 socat'
docker=docker.io

# Nothing here has hardware to look after. Left running, these cost boot time or fail and make the system "degraded".
masked='systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
systemd-udev-settle.service systemd-modules-load.service systemd-journald-audit.socket sys-kernel-debug.mount
sys-kernel-tracing.mount sys-kernel-config.mount dev-hugepages.mount proc-sys-fs-binfmt_misc.automount
proc-sys-fs-binfmt_misc.mount getty@tty1.service getty-static.service apt-daily.timer apt-daily-upgrade.timer
dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service'

die() { printf 'make-image: %s\n' "$*" >&2; exit 1; }
say() { printf 'make-image: %s\n' "$*" >&2; }

# Where this machine itself gets Debian from: mirrors, proxies and offline copies differ from machine to machine. Any
# Debian archive serves every suite. Empty on other distributions: debootstrap then knows an address of its own.
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

security_mirror() {
    apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian-Security" { print $2; exit }'
}

# The image's first root: no host keys, no machine id, no trace of this machine's resolver.
build_base() { # ROOT
    mirror=$(debian_mirror)
    say "debootstrap $suite${mirror:+ from $mirror} (about a minute)"
    # shellcheck disable=SC2086 # an empty mirror must be no argument at all
    unshare --mount debootstrap --variant=minbase --include="$packages" "$suite" "$1" $mirror >"$log" 2>&1 ||
        die "debootstrap failed, its last words: $(tail -n 3 "$log"); see $log"
    base_sources "$1"
    base_network "$1"
    base_ssh "$1"
    for unit in $masked; do
        ln -sf /dev/null "$1/etc/systemd/system/$unit"
    done
    # Empty, not missing: each instance gets an id of its own, and systemd doesn't run its first-boot presets.
    : >"$1/etc/machine-id"
    rm -f "$1/var/lib/dbus/machine-id" "$1/etc/resolv.conf" "$1/etc/hostname"
    ln -s /etc/machine-id "$1/var/lib/dbus/machine-id"
}

base_sources() { # ROOT
    from=$(awk '$1 == "deb" { print $2; exit }' "$1/etc/apt/sources.list")
    security=$(security_mirror)
    {
        echo "deb $from $suite main"
        echo "deb $from $suite-updates main"
        [ -z "$security" ] || echo "deb $security $suite-security main"
    } >"$1/etc/apt/sources.list"
}

base_network() { # ROOT
    cat >"$1/etc/network/interfaces" <<'END'
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
END
    # dhclient's defaults are for a laptop that wanders; the engine's bridge answers at once or not at all.
    cat >>"$1/etc/dhcp/dhclient.conf" <<'END'
timeout 15;
initial-interval 1;
backoff-cutoff 2;
reboot 1;
END
}

base_ssh() { # ROOT
    rm -f "$1"/etc/ssh/ssh_host_*
    # No RSA key: making one takes up to a second of every first boot, and every client of the last ten years knows these.
    cat >"$1/etc/systemd/system/ssh-host-keys.service" <<'END'
[Unit]
Description=Make this instance's own SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ecdsa -N "" -f /etc/ssh/ssh_host_ecdsa_key
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=ssh.service
END
    mkdir -p "$1/etc/systemd/system/ssh.service.wants"
    ln -s ../ssh-host-keys.service "$1/etc/systemd/system/ssh.service.wants/ssh-host-keys.service"
}

# Adds packages to a root. The machine's resolver and its apt client's settings (proxies and the like) are copied in for as
# long as that takes, and no daemon may start.
add_packages() { # ROOT PACKAGE...
    root=$1
    shift
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    apt-config dump Acquire | grep -E '^Acquire::(https?::|Check-|Retries)' >"$root/etc/apt/apt.conf.d/99build" || :
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    # shellcheck disable=SC2016 # expanded by the inner shell
    DEBIAN_FRONTEND=noninteractive LC_ALL=C unshare --mount --pid --fork --mount-proc="$root/proc" \
        chroot "$root" sh -euc 'apt-get -q update && apt-get -qy --no-install-recommends install "$@"' sh "$@" >"$log" 2>&1 ||
        die "apt-get failed in the image's root, its last words: $(tail -n 3 "$log"); see $log"
    rm -f "$root/etc/resolv.conf" "$root/etc/apt/apt.conf.d/99build" "$root/usr/sbin/policy-rc.d"
}

metadata() { # DIR DESCRIPTION
    mkdir "$1/templates"
    printf '{{ container.name }}\n' >"$1/templates/hostname.tpl"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t{{ container.name }}\n::1\tlocalhost ip6-localhost ip6-loopback\n' \
        >"$1/templates/hosts.tpl"
    cat >"$1/metadata.yaml" <<END
architecture: $(uname -m)
creation_date: $(date +%s)
properties:
  os: Debian
  release: $suite
  architecture: $(dpkg --print-architecture)
  description: $2
templates:
  /etc/hostname: {when: [create, copy], template: hostname.tpl}
  /etc/hosts: {when: [create, copy], template: hosts.tpl}
END
    tar -C "$1" --owner=0 --group=0 -cJf "$1/metadata.tar.xz" metadata.yaml templates
    rm -rf "$1/metadata.yaml" "$1/templates"
}

[ $# -eq 2 ] || die "usage: make-image.sh debian/12|debian/12-tools|debian/12-docker DIR"
[ "$(id -u)" = 0 ] || die "must be root, to own the files of the image"
for program in debootstrap mksquashfs unshare; do
    command -v "$program" >/dev/null || die "$program is missing; run scripts/setup.sh test"
done

name=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
recipe=$(sha256sum "$0" | cut -c1-12)
out=$dir/$(printf %s "$name" | tr / -)-$recipe
if [ -f "$out/rootfs.squashfs" ]; then
    echo "$out"
    exit 0
fi

work=$(mktemp -d "$dir/.work.XXXXXX")
log=$dir/build.log
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir "$work/out"

case $name in
    debian/12)
        mkdir "$work/root"
        build_base "$work/root"
        ;;
    debian/12-tools | debian/12-docker)
        base=$("$0" debian/12 "$dir")
        unsquashfs -q -n -d "$work/root" "$base/rootfs.squashfs" >"$log" 2>&1 || die "unsquashfs failed; see $log"
        more=$tools
        [ "$name" = debian/12-tools ] || more=$docker
        say "adding $more"
        # shellcheck disable=SC2086 # one word a package
        add_packages "$work/root" $more
        ;;
    *) die "no recipe for $name" ;;
esac
rm -rf "$work/root/var/cache/apt" "$work/root/var/lib/apt/lists" "$work/root"/var/log/*.log "$work/root"/var/log/apt
mkdir -p "$work/root/var/cache/apt/archives/partial" "$work/root/var/lib/apt/lists/partial" "$work/root/var/log/apt"

metadata "$work/out" "Debian 12 (${name#*/}), made with debootstrap"
mksquashfs "$work/root" "$work/out/rootfs.squashfs" -noappend -quiet -no-progress -comp zstd -Xcompression-level 6 \
    >"$log" 2>&1 || die "mksquashfs failed; see $log"
# The last step, and atomic: a killed build leaves nothing that looks finished.
mv "$work/out" "$out"
echo "$out"
