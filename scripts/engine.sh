# shellcheck shell=bash
# The user's own engine: found, started, joined, initialised, given an image. Sourced by run.sh after lib.sh.
# Everything that is there already is left as it is.

repo=${repo:?}
engine=      # lxd or incus
engine_dir=  # where its socket is

client() {
    case $engine in
        lxd) LXD_DIR=$engine_dir lxc "$@" ;;
        incus) INCUS_DIR=$engine_dir incus "$@" ;;
    esac
}

answers() {
    curl -fs --noproxy '*' --max-time 5 --unix-socket "$engine_dir/unix.socket" -o /dev/null http://localhost/1.0
}

# A socket that is not for this user: join_group shows whether anything listens there.
is_closed_to_us() {
    [ -S "$engine_dir/unix.socket" ] && ! [ -w "$engine_dir/unix.socket" ]
}

default_dir() { # ENGINE
    case $1 in
        lxd) if has_snap_lxd; then echo /var/snap/lxd/common/lxd; else echo /var/lib/lxd; fi ;;
        incus) echo /var/lib/incus ;;
    esac
}

# What the user points at comes first, as in the program itself; then what runs; then what is installed, LXD before Incus.
choose_engine() {
    local name installed=
    if [ -n "${LXD_DIR:-}" ]; then
        engine=lxd engine_dir=$LXD_DIR
        return
    elif [ -n "${INCUS_DIR:-}" ]; then
        engine=incus engine_dir=$INCUS_DIR
        return
    fi
    for name in incus lxd; do
        if daemon_of $name >/dev/null || { [ $name = lxd ] && has_snap_lxd; }; then installed=$name; fi
    done
    for name in incus lxd; do
        if [ -S "$(default_dir $name)/unix.socket" ]; then engine=$name; fi
    done
    engine=${engine:-$installed}
    [ -n "$engine" ] || die 'neither LXD nor Incus is installed' 'run scripts/setup.sh run'
    engine_dir=$(default_dir "$engine")
}

# A socket that nobody listens on is left behind by a daemon that was killed.
start_engine() {
    if is_closed_to_us || answers; then return; fi
    say "starting $engine"
    if has_systemd; then
        start_by_init ||
            die "$engine does not start" "look into: journalctl -u $engine"
    else
        start_by_hand
    fi
    wait_for_engine
}

start_by_init() {
    case $engine_dir in
        /var/snap/*) as_root snap start lxd ;;
        *) as_root systemctl start "$engine.socket" "$engine.service" ;;
    esac
}

# Without systemd (a container, a small machine) the daemon is ours to start; it stays until the machine goes down.
start_by_hand() {
    local program group
    refuse_chroot
    program=$(daemon_of "$engine") || die "$engine is not installed" 'run scripts/setup.sh run'
    group=$(engine_group)
    allow_many_instances
    # Its words must not come here, and it must outlive this script and its terminal.
    as_root sh -c 'mkdir -p "$2" /var/log/"$1" && exec setsid -f env -u LXD_SOCKET -u INCUS_SOCKET "$3=$2" "$4" \
        --group "$5" --logfile /var/log/"$1"/"$1".log </dev/null >/var/log/"$1"/out 2>&1' \
        sh "$engine" "$engine_dir" "${engine^^}_DIR" "$program" "$group"
}

# Whose members have the whole engine. Incus has a second group, `incus`, for projects of one user each: not for us.
engine_group() {
    local group
    case $engine in lxd) group=lxd ;; incus) group=incus-admin ;; esac
    if getent group $group >/dev/null; then echo $group; else echo root; fi
}

wait_for_engine() {
    local tries
    for tries in $(seq 100); do
        # It may be the group's already, and this process may not be in it yet.
        if answers || is_closed_to_us; then return; fi
        sleep 0.3
    done
    die "$engine has not answered for 30 seconds at $engine_dir/unix.socket ($tries tries)" "look into /var/log/$engine"
}

# Membership counts from the next login on; until then `sg` gives it to this script alone.
join_group() { # ARGUMENTS OF THE SCRIPT...
    local group
    is_closed_to_us || return 0
    group=$(stat -c %G "$engine_dir/unix.socket")
    [ "$group" != root ] || die "$engine talks to root only" "run this as root, or start $engine with --group $(engine_group)"
    [ -z "${LDM_JOINED:-}" ] || die "$engine does not talk to members of the group $group" "log out and in again"
    if ! id -nG "$(id -un)" | tr ' ' '\n' | grep -qx "$group"; then
        say "adding you to the group $group, whose members may use $engine."
        say 'Know that this is as good as being root: a container can be given any file of this machine.'
        as_root usermod -aG "$group" "$(id -un)" || die "could not add you to the group $group"
        say 'It counts from your next login on; this script goes on without.'
    fi
    command -v sg >/dev/null || die "the program sg is missing" 'log out and in again, then run this once more'
    exec sg "$group" -c "LDM_JOINED=1 $(printf '%q ' "$0" "$@")"
}

# ---- pool, bridge, default profile: step by step, since a preseed that fails half way can't be given again ------------

initialise() {
    local profile
    # A client's first call greets new users, and tells them to initialise by hand what is about to be done here.
    client remote list >/dev/null 2>&1 || true
    profile=$(client profile show default) || die "$engine does not show its default profile" 'see the message above'
    grep -q '^ *path: /$' <<<"$profile" ||
        client profile device add default root disk path=/ pool="$(find_pool)" >/dev/null ||
        die "$engine has no storage for containers" 'see the message above'
    grep -q '^ *type: nic$' <<<"$profile" ||
        client profile device add default eth0 nic name=eth0 network="$(find_bridge)" >/dev/null ||
        die "$engine has no network for containers" 'see the message above'
}

find_pool() {
    local pool
    pool=$(client storage list --format csv | awk -F, 'NR == 1 { print $1 }')
    if [ -z "$pool" ]; then
        pool=default
        # Copy-on-write: a snapshot takes no time and no room, and doesn't stop anybody.
        if client storage create $pool btrfs size="$(pool_gib)GiB" >/dev/null; then
            say "made a btrfs pool of up to $(pool_gib) GiB for containers"
        else
            say 'btrfs does not work here; using plain directories, where every snapshot copies everything'
            client storage create $pool dir >/dev/null || return 1
        fi
    fi
    echo "$pool"
}

# A fifth of what is free, as the engines themselves would take, between 5 and 30 GiB. The file grows as it is used.
pool_gib() {
    local gib
    gib=$(($(df -k --output=avail /var/lib | tail -n 1) / 1024 / 1024 / 5))
    [ "$gib" -ge 5 ] || gib=5
    [ "$gib" -le 30 ] || gib=30
    echo "$gib"
}

find_bridge() {
    local bridge n=0
    bridge=$(client network list --format csv | awk -F, '$2 == "bridge" && $3 == "YES" && !n++ { print $1 }')
    if [ -z "$bridge" ]; then
        while ip link show "${engine}br$n" >/dev/null 2>&1; do n=$((n + 1)); done
        bridge=${engine}br$n
        # Without a name server or a route out the engine can't find out which networks are free.
        client network create "$bridge" >/dev/null 2>&1 ||
            client network create "$bridge" ipv4.address="$(free_subnet_address)" ipv4.nat=true ipv6.address=none >/dev/null ||
            return 1
    fi
    echo "$bridge"
}

# ---- an image --------------------------------------------------------------------------------------------------------

has_image() { client image info "$1" >/dev/null 2>&1; }

# Prints the alias of an image that is in the engine afterwards. The public server's where it answers within seconds.
find_image() {
    local alias=debian/12 remote=images url name
    # Incus' server serves no LXD any more; Canonical's does.
    if [ "$engine" = lxd ]; then alias=ubuntu/24.04 remote=ubuntu; fi
    for name in "$alias" debian/12; do
        if has_image "$name"; then
            echo "$name"
            return
        fi
    done
    url=$(client remote list --format csv | awk -F, -v name="$remote" '$1 == name { print $2 }')
    if [ -n "$url" ] && curl -fsL --connect-timeout 3 --max-time 6 -o /dev/null -r 0-0 "$url/streams/v1/index.json"; then
        say "fetching the image $alias from $url (some minutes)"
        if client image copy "$remote:${alias/ubuntu\//}" local: --alias "$alias" >&2; then
            echo "$alias"
            return
        fi
    fi
    say 'no public image server can be reached from here: making an image debian/12 from Debian packages instead'
    make_image debian/12
    echo debian/12
}

make_image() { # ALIAS
    local dir files
    "$repo/scripts/setup.sh" image || exit 1
    dir=$(as_root mktemp -d /var/tmp/lxc-dev-manager-image.XXXXXX)
    files=$(as_root "$repo/scripts/make-image.sh" "$1" "$dir") ||
        die 'the image could not be made' 'see the message above; are the Debian mirrors reachable?'
    as_root chmod 755 "$dir" "$files"
    say "importing $1 into $engine"
    client image import "$files/metadata.tar.xz" "$files/rootfs.squashfs" --alias "$1" >/dev/null ||
        die "$engine does not take the image" "see its message above; the files are in $files"
    as_root rm -rf "$dir"
}
