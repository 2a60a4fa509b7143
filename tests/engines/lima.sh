#!/bin/bash
# What tests of Lima need beside the programs of this repo: the roots of their guests as tars, and, where tests run as root,
# which limactl refuses, a user for them. See usage().
set -euo pipefail
umask 022

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
root=${LDM_TEST_DIR:-/var/tmp/ldm-test}
user=ldm-lima
# Enough for every id of a guest.
ids=65536

usage() {
    cat <<'END'
usage: lima.sh COMMAND

  up       makes what is missing
  clean    deletes the user and the tars
  env      the variables that tests read (also in lima.env)

LDM_TEST_DIR   where the tars live (default /var/tmp/ldm-test)
END
}

# ---- guests ----------------------------------------------------------------------------------------------------------

make_image() { # busybox|debian: prints the directory of its files
    case $1 in
        busybox) "$repo/scripts/make-busybox-image.sh" "$root/images" ;;
        debian) "$repo/scripts/make-image.sh" debian/12 "$root/images" ;;
    esac
}

# The same root as the container's, without devices: a user's namespaces can't make any.
make_tar() { # busybox|debian: prints its path
    local files work tar
    files=$(make_image "$1")
    tar=$files/rootfs.tar
    if [ ! -f "$tar" ]; then
        say "$1: a disk for Lima's guests"
        work=$(mktemp -d "$root/images/.work.XXXXXX")
        unsquashfs -q -n -d "$work/root" "$files/rootfs.squashfs" >/dev/null
        tar -C "$work/root" --numeric-owner --exclude='./dev/*' -cf "$work/rootfs.tar" .
        mv "$work/rootfs.tar" "$tar"
        rm -rf "$work"
    fi
    echo "$tar"
}

# ---- the user --------------------------------------------------------------------------------------------------------

# Ids for the user's namespaces, above those that anybody has.
first_free_id() {
    cat /etc/subuid /etc/subgid 2>/dev/null | awk -F: -v wanted="$ids" '
        { first[NR] = $2; last[NR] = $2 + $3 }
        END {
            for (id = 100000; id < 4000000000; id += wanted) {
                taken = 0
                for (i = 1; i <= NR; i++) if (id < last[i] && id + wanted > first[i]) taken = 1
                if (!taken) { printf "%d\n", id; exit }
            }
        }'
}

make_user() {
    local first
    id "$user" >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
    # By useradd only for users that aren't the system's.
    if ! grep -q "^$user:" /etc/subuid || ! grep -q "^$user:" /etc/subgid; then
        first=$(first_free_id)
        usermod --add-subuids "$first-$((first + ids - 1))" --add-subgids "$first-$((first + ids - 1))" "$user"
    fi
}

# Ubuntu's kernel lets no unprivileged namespace have rights, unless told to. Until the next reboot only.
allow_namespaces() {
    local limit=/proc/sys/kernel/apparmor_restrict_unprivileged_userns
    [ ! -e "$limit" ] || [ "$(cat "$limit")" = 0 ] || echo 0 >"$limit" || say "could not change $limit"
}

# ---- commands --------------------------------------------------------------------------------------------------------

up() {
    local busybox debian
    mkdir -p "$root/images"
    allow_namespaces
    # Whoever has called this through sudo runs the tests; a root of its own needs the user.
    [ -n "${LDM_TEST_CALLER:-}" ] || make_user
    busybox=$(make_tar busybox)
    debian=$(make_tar debian)
    printf '%s\n' "LDM_TEST_LIMA_IMAGE=$busybox" "LDM_TEST_LIMA_DEBIAN_IMAGE=$debian" "LDM_TEST_LIMA_USER=$user" \
        >"$root/lima.env"
}

clean() {
    ! id "$user" >/dev/null 2>&1 || userdel "$user" 2>/dev/null || say "$user could not be deleted"
    rm -f "$root"/images/*/rootfs.tar "$root/lima.env"
}

main() {
    case ${1:-} in
        env) cat "$root/lima.env"; return ;;
        help | -h | --help) usage; return ;;
        up | clean) ;;
        *) usage >&2; exit 2 ;;
    esac
    if [ "$(id -u)" != 0 ]; then
        as_root env LDM_TEST_DIR="$root" LDM_TEST_CALLER="$(id -un)" "$0" "$@"
        return
    fi
    mkdir -p "$root"
    [ -O "$root" ] || die "$root belongs to another user" 'set LDM_TEST_DIR to a directory of your own'
    exec 9>"$root/lima.lock"
    flock 9
    "$@"
}

main "$@"
