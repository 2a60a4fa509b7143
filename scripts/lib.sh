# shellcheck shell=bash
# What setup.sh, run.sh and test.sh share; sourced, never run.

# shellcheck disable=SC2034 # for the scripts that source this
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
topic=$(basename "$0" .sh)

say() { printf '%s: %s\n' "$topic" "$*" >&2; }

# The second argument says what to do about it, as the program's own errors do.
die() { # MESSAGE [HINT]
    printf '%s: error: %s\n' "$topic" "$1" >&2
    [ $# -lt 2 ] || printf '%s: hint: %s\n' "$topic" "$2" >&2
    exit 1
}

# What setup.sh installs below the user's home, found again by later calls that have no login shell's PATH.
tools_dir=${XDG_DATA_HOME:-$HOME/.local/share}/lxc-dev-manager/build
PATH=$tools_dir/bin:$tools_dir/node_modules/.bin:$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin
export PATH

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "must be root for: $*" "run this as root, or install sudo"
    fi
}

version_ge() { # VERSION WANTED
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

wants_app() {
    [ "${NO_APP:-}" != 1 ] && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]
}

has_systemd() { [ -d /run/systemd/system ]; }

# Both engines enter their mount namespace again while they start, which leaves a mere chroot: they would then work on the
# files of the system outside. A container or a pivoted root is fine.
refuse_chroot() {
    local outside
    outside=$(as_root nsenter --mount=/proc/self/ns/mnt stat -c %d:%i / 2>/dev/null) || return 0
    [ "$outside" = "$(stat -c %d:%i /)" ] ||
        die 'an engine can not be run in a chroot' 'use a container, or pivot_root and a process namespace of its own'
}

# ---- engines: what is installed, where its daemon and its socket are --------------------------------------------------

is_program() { # PATH: a real program, not Ubuntu's script that would install a snap when it is called
    [ -x "$1" ] && [ "$(head -c 4 "$1" | tail -c 3)" = ELF ]
}

daemon_of() { # lxd|incus: prints its program, fails where there is none
    local path
    case $1 in
        lxd) set -- /usr/bin/lxd /usr/sbin/lxd /usr/lib/lxd/lxd ;;
        incus) set -- /usr/libexec/incus/incusd /usr/lib/incus/incusd /opt/incus/bin/incusd /usr/bin/incusd ;;
    esac
    for path; do
        if is_program "$path"; then
            echo "$path"
            return
        fi
    done
    return 1
}

# Its own world: systemd's and snapd's to start, with paths and a client of its own.
has_snap_lxd() { [ -S /var/snap/lxd/common/lxd/unix.socket ]; }

has_client() { # lxd|incus
    case $1 in
        lxd) is_program /usr/bin/lxc ;;
        incus) command -v incus >/dev/null ;;
    esac
}

# The first /24 of a few that no route of this machine covers or lies in. The engines look for one themselves, but fail
# where they can't ask the network about it.
free_subnet_address() {
    local n net
    for n in $(seq 200 250); do
        net=10.187.$n.0/24
        [ -z "$(ip -4 route show root "$net"; ip -4 route show match "$net" | grep -v '^default')" ] || continue
        echo "10.187.$n.1/24"
        return
    done
    die 'no free network in 10.187.200.0-10.187.250.0' 'free one of them, or make a bridge yourself'
}

# Every systemd takes some seven of the kernel's 128 inotify instances, and all unprivileged containers of this machine
# share one user id: the eighteenth would die while it boots. Until the next reboot only; the packages do it for systemd.
allow_many_instances() {
    local limit=/proc/sys/fs/inotify/max_user_instances
    [ "$(cat "$limit")" -ge 1024 ] || as_root tee "$limit" >/dev/null <<<1024 || say "could not raise $limit"
}

# ---- caches ----------------------------------------------------------------------------------------------------------

# With CI=true every clone is new: what cargo has built is kept outside of it, one directory a lock file. The last one is
# taken over, for most of it still holds, unless it has grown too big.
use_cargo_cache() {
    local dir key last limit_kib=$((12 * 1024 * 1024))
    [ "${CI:-}" = true ] && [ -z "${CARGO_TARGET_DIR:-}" ] || return 0
    dir=${LDM_CACHE_DIR:-/var/tmp/ldm-cache}
    key=$dir/target-$(sha256sum "$repo/Cargo.lock" | cut -c1-16)
    export CARGO_TARGET_DIR=$key
    [ ! -d "$key" ] || return 0
    mkdir -p "$dir"
    last=$(find "$dir" -maxdepth 1 -name 'target-*' -printf '%T@ %p\n' | sort -rn | sed -n '1s/^[^ ]* //p')
    if [ -n "$last" ] && [ "$(du -sk "$last" | cut -f1)" -lt "$limit_kib" ]; then mv -T "$last" "$key"; fi
    find "$dir" -maxdepth 1 -name 'target-*' ! -path "$key" -exec rm -rf {} +
}
