#!/bin/bash
# Private LXD and Incus daemons for tests and benches: own directory, socket, bridge, pool and images, beside the user's
# own engines and never touching them. See usage() for the commands; every one may be given again at any time.
set -euo pipefail
umask 022

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
root=${LDM_TEST_DIR:-/var/tmp/ldm-test}
images='debian/12 debian/12-tools ldm-busybox debian/12-docker'
pool_size=${LDM_TEST_POOL_SIZE:-6GiB}
wait_seconds=60

usage() {
    cat <<'END'
usage: engines.sh COMMAND

  up                       start both daemons, set them up and import the images; does only what is missing
  down                     stop the instances and the daemons, keep everything on disk
  clean [--images]         down, and delete everything that up made; the images' cache only with --images
  empty                    delete every instance, such as killed tests leave behind
  status                   what runs, and where
  env                      the variables that tests read (also in engines.env)
  start|stop lxd|incus     one daemon alone; its instances run on
  restart lxd|incus        kill -9 and start, for tests of faults; its instances run on

LDM_TEST_DIR      where all of it lives (default /var/tmp/ldm-test)
LDM_TEST_GROUP    whose members may talk to the daemons (default root; kept until the next `up` that says another)
LDM_TEST_ENGINES  "lxd incus", or one of them: those that must run (default: those that are installed)
LDM_TEST_IMAGES   the images to import (default: all); a test of faults runs daemons of its own, in a directory of its own
LDM_TEST_POOL_SIZE  size of a pool that isn't there yet (default 6GiB)
END
}

# ---- the two engines' differences, all of them -----------------------------------------------------------------------

dir_of() { echo "$root/$1"; }
socket_of() { echo "$root/$1/unix.socket"; }

engine_env() { # ENGINE: the variables that point daemon and client at the private directory
    # The client's configuration too: the caller's default remote and project must not be used here.
    case $1 in
        lxd) echo "LXD_DIR=$(dir_of lxd) LXD_CONF=$root/client-lxd" ;;
        incus) echo "INCUS_DIR=$(dir_of incus) INCUS_CONF=$root/client-incus" ;;
    esac
}

# Becomes the command. An inherited socket or project would win over the directory.
exec_in_engine() { # ENGINE COMMAND...
    local vars
    read -ra vars <<<"$(engine_env "$1")"
    shift
    exec env -u LXD_SOCKET -u LXD_PROJECT -u LXD_REMOTE -u INCUS_SOCKET -u INCUS_PROJECT -u INCUS_REMOTE "${vars[@]}" "$@"
}

in_engine() { (exec_in_engine "$@"); }

client() { # ENGINE ARGUMENT...
    local engine=$1
    shift
    case $engine in
        lxd) in_engine lxd lxc "$@" ;;
        incus) in_engine incus incus "$@" ;;
    esac
}

is_ready() { # ENGINE: waits a second for it
    case $1 in
        lxd) in_engine lxd lxd waitready --timeout 1 ;;
        incus) in_engine incus incus admin waitready --timeout 1 ;;
    esac >/dev/null 2>&1
}

# ---- daemons ---------------------------------------------------------------------------------------------------------

# The pid, if that process is still the daemon that we started: after a reboot the number may be anybody's.
running_pid() { # ENGINE
    local pid want
    pid=$(cat "$root/$1.pid" 2>/dev/null) || return 1
    read -r want _ <<<"$(engine_env "$1")"
    tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "$want" || return 1
    echo "$pid"
}

group() {
    cat "$root/group" 2>/dev/null || echo root
}

start_daemon() { # ENGINE
    local engine=$1 program dir
    running_pid "$engine" >/dev/null && return
    refuse_chroot
    program=$(daemon_of "$engine") || die "$engine is not installed" 'run scripts/setup.sh test'
    dir=$(dir_of "$engine")
    mkdir -p "$dir" "$root/client-$engine"
    chmod 0711 "$dir"
    # With a configuration there, the client keeps its greeting to new users to itself.
    echo 'default-remote: local' >"$root/client-$engine/config.yml"
    # Of its own session and without our descriptors: it must outlive this script, its terminal and its lock.
    exec_in_engine "$engine" setsid "$program" --group "$(group)" --logfile "$root/$engine.log" \
        </dev/null >"$root/$engine.out" 2>&1 9>&- &
    echo $! >"$root/$engine.pid"
    disown
    local tries=0
    until is_ready "$engine"; do
        tries=$((tries + 1))
        if ! kill -0 "$(cat "$root/$engine.pid")" 2>/dev/null; then
            die "$engine does not start: $(tail -n 1 "$root/$engine.out")" "see $root/$engine.log"
        fi
        [ "$tries" -lt "$wait_seconds" ] || die "$engine did not start within $wait_seconds s" "see $root/$engine.log"
    done
}

# SIGTERM ends the daemon and leaves its instances running.
stop_daemon() { # ENGINE [SIGNAL]
    local pid
    pid=$(running_pid "$1") || return 0
    kill "-${2:-TERM}" "$pid"
    # The next daemon needs this one's sockets and database. A zombie that nobody reaps (a container without init) is gone.
    local tries
    for tries in $(seq $((wait_seconds * 20))); do
        running_pid "$1" >/dev/null || break
        sleep 0.05
    done
    ! running_pid "$1" >/dev/null || die "$1 (pid $pid) does not end" "see $root/$1.log ($tries tries)"
    rm -f "$root/$1.pid"
}

# ---- set-up, each step only where it is missing ----------------------------------------------------------------------

# A preseed that fails half way can't be given again, so these are single steps, each looked up first.
set_up() { # ENGINE
    local engine=$1 bridge
    client "$engine" storage show default >/dev/null 2>&1 ||
        client "$engine" storage create default btrfs size="$pool_size" >/dev/null
    bridge=$(bridge_of "$engine")
    # Daemons of several tests may be set up at the same time, and must not find the same network free.
    (
        flock 9
        client "$engine" network show "$bridge" >/dev/null 2>&1 ||
            client "$engine" network create "$bridge" ipv4.address="$(free_subnet_address)" ipv4.nat=true ipv6.address=none >/dev/null
    ) 9>"${TMPDIR:-/tmp}/ldm-test-subnets.lock"
    client "$engine" profile device get default root pool >/dev/null 2>&1 ||
        client "$engine" profile device add default root disk path=/ pool=default >/dev/null
    client "$engine" profile device get default eth0 network >/dev/null 2>&1 ||
        client "$engine" profile device add default eth0 nic name=eth0 network="$bridge" >/dev/null
}

# Chosen once, and another number where another one (a second LDM_TEST_DIR) has the name already.
bridge_of() { # ENGINE
    local file=$root/$1.bridge prefix n=0
    if [ ! -s "$file" ]; then
        case $1 in lxd) prefix=ldmtlxd ;; incus) prefix=ldmtinc ;; esac
        while ip link show "$prefix$n" >/dev/null 2>&1; do n=$((n + 1)); done
        echo "$prefix$n" >"$file"
    fi
    cat "$file"
}

make_image() { # ALIAS: prints the directory of its files
    case $1 in
        ldm-busybox) "$repo/scripts/make-busybox-image.sh" "$root/images" ;;
        *) "$repo/scripts/make-image.sh" "$1" "$root/images" ;;
    esac
}

import_images() { # ENGINE
    local engine=$1 alias files recipe
    for alias in ${LDM_TEST_IMAGES:-$images}; do
        files=$(make_image "$alias")
        recipe=$(basename "$files")
        # A changed recipe takes over its alias; what was made from the old image lives on without it.
        [ "$(client "$engine" image get-property "$alias" ldm-recipe 2>/dev/null)" != "$recipe" ] || continue
        client "$engine" image delete "$alias" >/dev/null 2>&1 || true
        say "importing $alias into $engine"
        client "$engine" image import "$files/metadata.tar.xz" "$files/rootfs.squashfs" \
            --alias "$alias" "ldm-recipe=$recipe" >/dev/null
    done
}

# An engine that is left out has no variables here, so that its tests can say that they are skipped.
print_env() {
    local image tools busybox docker engine
    read -r image tools busybox docker <<<"$images"
    for engine in $(engines); do
        echo "LDM_TEST_${engine^^}_DIR=$(dir_of "$engine")"
        echo "LDM_TEST_${engine^^}_SOCKET=$(socket_of "$engine")"
    done
    echo "LDM_TEST_IMAGE=$image"
    echo "LDM_TEST_TOOLS_IMAGE=$tools"
    echo "LDM_TEST_BUSYBOX_IMAGE=$busybox"
    echo "LDM_TEST_DOCKER_IMAGE=$docker"
}

# ---- commands --------------------------------------------------------------------------------------------------------

# Both, where both can be had. A distribution may have only one (Ubuntu's LXD is a snap, which can't be run twice): the
# other is left out, said by name, unless LDM_TEST_ENGINES says that it must run.
engines() {
    local engine found=
    if [ -n "${LDM_TEST_ENGINES:-}" ]; then
        echo "$LDM_TEST_ENGINES"
        return
    fi
    for engine in lxd incus; do
        ! daemon_of "$engine" >/dev/null || found+="$engine "
    done
    [ -n "$found" ] || die 'neither LXD nor Incus is installed' 'run scripts/setup.sh test'
    echo "$found"
}

check_engine() {
    case ${1:-} in lxd | incus) ;; *) die 'which engine, lxd or incus?' ;; esac
}

# Of tests with mounts (tests/src/workspace.rs).
allow_files_of_plain_user() {
    local file
    for file in /etc/subuid /etc/subgid; do
        grep -qx 'root:70000:1' "$file" || as_root tee -a "$file" >/dev/null <<<'root:70000:1'
    done
}

up() {
    local engine list
    list=$(engines)
    for engine in lxd incus; do
        [[ " $list " == *" $engine "* ]] || say "$engine is left out: it is not installed here"
    done
    allow_many_instances
    allow_files_of_plain_user
    [ -z "${LDM_TEST_GROUP:-}" ] || echo "$LDM_TEST_GROUP" >"$root/group"
    for engine in $list; do
        start_daemon "$engine"
        chgrp "$(group)" "$(socket_of "$engine")"
        set_up "$engine"
        import_images "$engine"
    done
    print_env >"$root/engines.env"
}

# Every engine project's: tests make projects too.
each_instance() { # ENGINE: lines of "PROJECT NAME STATE"
    local project
    for project in $(client "$1" project list --format csv | sed 's/ (current)//; s/,.*//'); do
        client "$1" list --project "$project" --format csv -c ns | sed "s/^/$project,/" | tr ',' ' '
    done
}

down() {
    local engine project name state
    for engine in $(engines); do
        running_pid "$engine" >/dev/null || continue
        each_instance "$engine" | while read -r project name state; do
            [ "$state" = STOPPED ] || client "$engine" stop --force --project "$project" "$name" </dev/null || true
        done
        stop_daemon "$engine"
        unmount_below "$(dir_of "$engine")"
    done
}

# Deepest first. The daemons leave their pools and a few tmpfs mounted when they end.
unmount_below() { # DIR
    awk -v dir="$1/" 'index($2, dir) == 1 { print length($2), $2 }' /proc/mounts | sort -rn | cut -d' ' -f2- |
        while read -r mount; do umount -l "$mount"; done
}

# What the daemon has made outside of its directory is deleted through the daemon where it still starts.
clean() {
    local engine bridge
    for engine in $(engines); do
        if [ -d "$(dir_of "$engine")" ] && (start_daemon "$engine"); then
            delete_all "$engine"
        fi
    done
    down
    for engine in $(engines); do
        bridge=$(cat "$root/$engine.bridge" 2>/dev/null) || bridge=
        end_dnsmasq "$(dir_of "$engine")/networks/$bridge/dnsmasq.pid"
        [ -z "$bridge" ] || ip link delete "$bridge" 2>/dev/null || true
        unmount_below "$(dir_of "$engine")"
        detach_loops "$(dir_of "$engine")"
        rm -rf "$(dir_of "$engine")" "$root/client-$engine" "$root/$engine".{log,out,pid,bridge}
    done
    rm -f "$root/engines.env" "$root/group"
    [ "${1:-}" != --images ] || rm -rf "$root/images"
}

# The name server of a bridge outlives a daemon that was killed, and would keep the bridge's address.
end_dnsmasq() { # FILE: as the daemon has written it, `pid: 123`
    local pid
    pid=$(sed -n 's/^pid: *//p' "$1" 2>/dev/null) || return 0
    # Its arguments name the daemon's directory: another process may have the number already.
    if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "dnsmasq" &&
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$(dirname "$1")/"; then
        kill "$pid" || true
    fi
}

delete_all() { # ENGINE
    local engine=$1
    delete_instances "$engine"
    client "$engine" profile device remove default eth0 >/dev/null 2>&1 || true
    client "$engine" network delete "$(bridge_of "$engine")" >/dev/null 2>&1 || true
}

delete_instances() { # ENGINE
    local project name state
    each_instance "$1" | while read -r project name state; do
        client "$1" delete --force --project "$project" "$name" </dev/null || say "$name ($state) could not be deleted"
    done
}

empty() {
    local engine
    for engine in $(engines); do
        ! running_pid "$engine" >/dev/null || delete_instances "$engine"
    done
}

# By file, not by path: a container's devices are listed here too, and may show the same path.
detach_loops() { # DIR
    local image loop
    for image in "$1"/disks/*.img; do
        [ -f "$image" ] || continue
        losetup -n -O NAME -j "$image" | while read -r loop; do losetup -d "$loop"; done
    done
}

status() {
    local engine pid
    for engine in $(engines); do
        if pid=$(running_pid "$engine"); then
            printf '%-6s running, pid %s, %s, bridge %s, instances: %s\n' "$engine" "$pid" "$(socket_of "$engine")" \
                "$(cat "$root/$engine.bridge" 2>/dev/null || echo none)" "$(each_instance "$engine" | wc -l)"
        else
            printf '%-6s not running\n' "$engine"
        fi
    done
}

main() {
    local command=${1:-}
    [ $# -eq 0 ] || shift
    case $command in
        env) print_env; return ;;
        help | -h | --help) usage; return ;;
        up | down | clean | empty | status | start | stop | restart) ;;
        *) usage >&2; exit 2 ;;
    esac
    # Daemons need root, tests don't: whoever starts them may talk to them.
    if [ "$(id -u)" != 0 ]; then
        as_root env LDM_TEST_DIR="$root" LDM_TEST_GROUP="${LDM_TEST_GROUP:-$(id -gn)}" \
            LDM_TEST_ENGINES="${LDM_TEST_ENGINES:-}" LDM_TEST_IMAGES="${LDM_TEST_IMAGES:-}" \
            LDM_TEST_POOL_SIZE="${LDM_TEST_POOL_SIZE:-}" "$0" "$command" "$@"
        return
    fi
    mkdir -p "$root"
    # /var/tmp is everybody's: images that another user has put there are not to be run.
    [ -O "$root" ] || die "$root belongs to another user" 'set LDM_TEST_DIR to a directory of your own'
    # One caller at a time; the daemons are started without this descriptor, or they would keep the lock.
    exec 9>"$root/lock"
    flock 9
    case $command in
        start) check_engine "$@"; start_daemon "$1" ;;
        stop) check_engine "$@"; stop_daemon "$1" ;;
        restart) check_engine "$@"; stop_daemon "$1" KILL; start_daemon "$1" ;;
        *) "$command" "$@" ;;
    esac
}

main "$@"
