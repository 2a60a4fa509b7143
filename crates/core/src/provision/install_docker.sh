# Starts Docker now and at every boot, and adds a user to its group; installs it if missing. POSIX
# sh; Debian, Alpine and Fedora families; systemd or OpenRC. $1 user.
set -eu
user=$1
PATH=$PATH:/usr/sbin:/sbin
config=/etc/docker/daemon.json

has() { command -v "$1" >/dev/null 2>&1; }

# By default Docker uses the driver of the file system, whose subvolumes or datasets would be inside
# the env's own: its snapshots and restores would not include them.
choose_driver() {
    probe=/var/lib/.ldm-probe
    mkdir -p "$probe/lower" "$probe/upper" "$probe/work" "$probe/merged"
    driver=vfs
    if mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/merged" 2>/dev/null; then
        umount "$probe/merged"
        driver=overlay2
    fi
    rm -rf "$probe"
    mkdir -p /etc/docker
    printf '{"storage-driver": "%s"}\n' "$driver" >"$config"
}

# Existing configuration and data are preserved.
if ! has dockerd; then
    [ -e "$config" ] || choose_driver
    if has apt-get; then
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -q && apt-get install -y -q --no-install-recommends docker.io; } >&2
    elif has apk; then
        apk add --no-progress docker >&2
    elif has dnf; then
        dnf install -y -q moby-engine >&2
    else
        echo 'the image lacks Docker, and has no apt-get, apk or dnf to install it' >&2
        exit 1
    fi || {
        echo 'cannot install Docker: check the network of the env and the packages of its distribution' >&2
        exit 1
    }
elif [ ! -e "$config" ] && [ -z "$(ls -A /var/lib/docker/containers 2>/dev/null)" ] &&
    ! grep -qs sha256 /var/lib/docker/image/*/repositories.json; then
    choose_driver
fi

if has systemctl && [ -d /run/systemd/system ]; then
    systemctl -q enable docker
    systemctl reset-failed docker 2>/dev/null || true
    systemctl restart docker 2>/dev/null || {
        why=$(journalctl -u docker -o cat --no-pager -n 50 2>/dev/null | grep -i 'failed\|error' | tail -n 1)
        echo "Docker does not start: ${why:-see journalctl -u docker}" >&2
        exit 1
    }
elif has rc-service; then
    rc-update add docker default >/dev/null 2>&1
    rc-service docker restart >&2
else
    echo 'unsupported init: expected systemd or OpenRC' >&2
    exit 1
fi
i=0
until docker version >/dev/null 2>&1; do
    i=$((i + 1))
    if [ "$i" -gt 300 ]; then
        echo "Docker does not respond: $(docker version 2>&1 | tail -n 1)" >&2
        exit 1
    fi
    sleep 0.1 2>/dev/null || sleep 1
done

if ! grep -q '^docker:' /etc/group; then
    if has groupadd; then groupadd docker; else addgroup docker; fi
fi
if has usermod; then usermod -aG docker "$user"; else addgroup "$user" docker; fi
