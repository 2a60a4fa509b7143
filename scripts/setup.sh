#!/bin/bash
# Installs what building, running or testing needs and this machine lacks: Debian 12 and 13, Ubuntu 24.04.
# Says what that is and asks on a terminal. Silent and quick where nothing is missing.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'END'
usage: setup.sh run|build|test|image

  run      what `make run` needs: compiler, an engine; with a display also what the desktop app needs
  build    what the release binaries need
  test     what every test needs: both engines, a screen to draw on
  image    what making a container image needs

YES=1            don't ask
NO_APP=1         leave the desktop app's needs out of `run`
RUST_FROM=       rustup or distribution: where Rust comes from (default: whichever works, rustup first)
END
}

build_packages=(build-essential pkg-config curl ca-certificates)
app_packages=(libwebkit2gtk-4.1-dev libayatana-appindicator3-dev librsvg2-dev libssl-dev file patchelf)
# nftables: LXD 5.0 leaves its rules behind when it has to make do with iptables' shim.
engine_packages=(btrfs-progs dnsmasq-base nftables iproute2 uidmap attr rsync squashfs-tools xz-utils)
image_packages=(debootstrap squashfs-tools xz-utils)
# socat: forwards are measured against it.
test_packages=(time qemu-utils xfsprogs xvfb xauth dbus dbus-x11 webkit2gtk-driver imagemagick xdotool wmctrl xfce4-panel xfwm4 x11-xserver-utils
    adwaita-icon-theme fonts-dejavu-core desktop-file-utils dpkg-dev dunst xterm openssh-client shellcheck
    socat)

rust_wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$repo/rust-toolchain.toml")
node_wanted=20.19

# Between the tests and the web view; npm and apt don't have it.
driver=tauri-driver
driver_version=2.1.0

# ---- what is missing -------------------------------------------------------------------------------------------------

missing_packages() { # PACKAGE...
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | awk '
        BEGIN { for (i = 1; i < ARGC; i++) want[ARGV[i]]; ARGC = 1 }
        $1 == "installed" { delete want[$2] }
        END { for (name in want) print name }' "$@" | sort
}

# rustup's cargo would fetch the pinned toolchain in this very call, unasked.
has_rust() {
    local version
    version=$(cd "$repo" && RUSTUP_AUTO_INSTALL=0 timeout 20 cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$version" ] && version_ge "$version" "$rust_wanted" || return 1
    [ "$mode" != test ] || { command -v cargo-clippy && command -v rustfmt; } >/dev/null
}

has_node() {
    local version
    command -v npm >/dev/null || return 1
    version=$(node --version 2>/dev/null) || return 1
    version_ge "${version#v}" "$node_wanted"
}

find_missing() {
    local wanted=("${build_packages[@]}")
    app=no rust=no node=no driver_missing=no engines=()
    case $mode in
        run)
            ! wants_app || app=yes
            # With neither engine it is Incus where apt has it: LXD is a snap on Ubuntu, and frozen in Debian.
            has_snap_lxd || daemon_of lxd >/dev/null || daemon_of incus >/dev/null || engines=(incus)
            ;;
        build) app=yes ;;
        test)
            app=yes
            wanted+=("${test_packages[@]}" "${image_packages[@]}")
            daemon_of incus >/dev/null && has_client incus || engines+=(incus)
            lxd_comes_by_apt && { daemon_of lxd >/dev/null && has_client lxd || engines+=(lxd); }
            ;;
        image) wanted=("${image_packages[@]}") ;;
    esac
    [ $app = no ] || wanted+=("${app_packages[@]}")
    [ ${#engines[@]} = 0 ] && [ "$mode" != test ] || wanted+=("${engine_packages[@]}")
    [ "$ID" = debian ] || [[ $mode != test && $mode != image ]] || wanted+=(debian-archive-keyring)
    if [ "$mode" != image ]; then
        has_rust || rust=yes
        [ $app = no ] || has_node || node=yes
        [ "$mode" != test ] || command -v $driver >/dev/null || driver_missing=yes
    fi
    mapfile -t packages < <(missing_packages "${wanted[@]}")
}

lxd_comes_by_apt() { [ "$ID" = debian ]; }

nothing_missing() {
    [ ${#packages[@]} = 0 ] && [ ${#engines[@]} = 0 ] && [ $rust$node$driver_missing = nonono ]
}

ask() {
    say 'to be installed on this machine:'
    [ ${#packages[@]} = 0 ] || say "  system packages: ${packages[*]}"
    [ ${#engines[@]} = 0 ] || say "  container engine: ${engines[*]}"
    [ $rust = no ] || say "  Rust $rust_wanted or newer"
    [ $node = no ] || say "  Node.js $node_wanted or newer"
    [ $driver_missing = no ] || say "  $driver $driver_version"
    if [ "${YES:-}" != 1 ] && [ -t 0 ]; then
        read -rp "$topic: go on? [Y/n] " answer
        case $answer in '' | y | Y | yes) ;; *) die 'nothing was installed' ;; esac
    fi
}

# ---- apt -------------------------------------------------------------------------------------------------------------

# Hundreds of lines that nobody reads, unless it fails.
apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null
}

apt_install() { # [-t SUITE] PACKAGE...
    if [ $# -gt 8 ]; then say "installing $# system packages and what they need"; else say "installing $*"; fi
    apt_get install -y --no-install-recommends "$@" || apt_failed "could not install: $*"
}

apt_failed() { # MESSAGE
    tail -n 8 "$log" >&2
    die "apt-get $1" "see $log; then run this again"
}

# The versions that apt could install, one a line: of any source, also of those that it doesn't prefer.
versions_of() { # PACKAGE
    apt-cache madison "$1" 2>/dev/null | awk -F'|' '{ gsub(/ /, "", $2); print $2 }'
}

has_candidate() { # PACKAGE
    [ -n "$(versions_of "$1")" ]
}

# Adds the release's backports from where the machine gets the release itself: same address, key and options, so that a
# mirror, a proxy or a key of the machine's own serves for both. Changes none of the machine's own files.
add_backports() {
    local suite=$VERSION_CODENAME-backports name=/etc/apt/sources.list.d/lxc-dev-manager-backports text
    ! apt-get indextargets --format '$(RELEASE)' | grep -qx "$suite" || return 0
    say "adding the package source $suite"
    text=$(deb822_stanza "$suite")
    name+=.sources
    if [ -z "$text" ]; then
        text=$(grep -hsE "^deb .* $VERSION_CODENAME( .*)? main( |$)" /etc/apt/sources.list /etc/apt/sources.list.d/*.list |
            head -n 1)
        text=${text/ $VERSION_CODENAME / $suite }
        name=${name%.sources}.list
    fi
    [ -n "$text" ] || return 1
    as_root tee "$name" >/dev/null <<<"$text"
    if ! apt_get update -o APT::Update::Error-Mode=any; then
        as_root rm -f "$name"
        say "this machine's package source has no $suite"
        return 1
    fi
}

deb822_stanza() { # SUITE: the stanza that gives the release, for the other suite
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed '/^#/d' |
        awk -v RS= -v suite="$1" -v release="$VERSION_CODENAME" '
            !done && /(^|\n)Types:[^\n]*deb/ && $0 ~ "(^|\n)Suites:([^\n]* )?" release "( |\n|$)" {
                sub(/Suites:[^\n]*/, "Suites: " suite)
                sub(/Components:[^\n]*/, "Components: main")
                print
                done = 1
            }'
}

# ---- Rust, Node, engines ---------------------------------------------------------------------------------------------

install_rust() {
    case ${RUST_FROM:-} in
        rustup) rust_by_rustup || die 'rustup could not install Rust' "see its message above" ;;
        distribution) rust_by_apt || die "no cargo of $rust_wanted or newer comes by apt here" ;;
        *)
            rust_by_rustup || rust_by_apt ||
                die "Rust $rust_wanted is to be had neither from rustup's server nor by apt" \
                    "install it yourself and see that cargo is in PATH, then run this again"
            ;;
    esac
    hash -r
    has_rust || die "cargo of $rust_wanted or newer is installed, but not the first in PATH: $(command -v cargo)"
}

rust_by_rustup() {
    local server=${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup} host dir
    if ! command -v rustup >/dev/null; then
        host=$(uname -m)-unknown-linux-gnu
        dir=$(mktemp -d)
        # Bounded: without a network this has to fail soon, there may be another way.
        if ! curl -fsS --connect-timeout 5 --max-time 120 -o "$dir/rustup-init" "$server/dist/$host/rustup-init"; then
            say "rustup's server does not answer"
            rm -rf "$dir"
            return 1
        fi
        chmod +x "$dir/rustup-init"
        say 'installing rustup'
        # From /: its check for a toolchain file must not start two downloads at once.
        (cd / && "$dir/rustup-init" -y -q --no-modify-path --profile minimal --default-toolchain none) >>"$log" 2>&1 ||
            tail -n 5 "$log" >&2
        rm -rf "$dir"
    fi
    say "installing Rust $rust_wanted by rustup"
    rustup -q toolchain install "$rust_wanted" --profile minimal --component rustfmt --component clippy >>"$log" 2>&1 ||
        { tail -n 5 "$log" >&2; return 1; }
}

# The newest that apt has, if that is enough; in Debian it is the backports'.
rust_by_apt() {
    local version
    [ "$ID" != debian ] || add_backports || true
    version=$(versions_of cargo | sort -V | tail -n 1)
    [ -n "$version" ] && version_ge "$version" "$rust_wanted" || return 1
    # All of one version: apt would take clippy and rustfmt from the release otherwise.
    apt_install "cargo=$version" "rustc=$version" "rustfmt=$version" "rust-clippy=$version" "libstd-rust-dev=$version"
}

install_node() {
    local version
    version=$(apt-cache policy nodejs | sed -n 's/^  Candidate: //p')
    if [ -n "$version" ] && version_ge "$version" "$node_wanted"; then
        # Debian's has npm in a package of its own, other makers put it into nodejs itself.
        apt_install nodejs
        command -v npm >/dev/null || apt_install npm
    else
        # Too old here, but its npm can fetch a newer one from npm's own registry, below the user's home.
        apt_install nodejs npm
        say "this system's Node.js is too old; installing a newer one in $tools_dir"
        mkdir -p "$tools_dir"
        npm install --silent --no-fund --no-audit --prefix "$tools_dir" node@22 npm@10 >&2 ||
            die "npm could not install a newer Node.js" "install Node.js $node_wanted or newer yourself, then run this again"
    fi
    hash -r
    has_node || die "Node.js of $node_wanted or newer is installed, but not the first in PATH: $(command -v node)"
}

install_driver() {
    say "building $driver"
    # In a place of its own: the user's other programs stay as they are.
    cargo install -q $driver --version "$driver_version" --locked --root "$tools_dir" >>"$log" 2>&1 ||
        { tail -n 8 "$log" >&2; die "cargo could not install $driver" "see $log; then run this again"; }
}

install_engine() { # incus|lxd
    case $1 in
        lxd) apt_install lxd lxd-client ;;
        incus)
            if has_candidate incus || { [ "$ID" = debian ] && add_backports && has_candidate incus; }; then
                # The base package runs containers; the whole one brings an emulator for virtual machines.
                if has_candidate incus-base; then apt_install incus-base incus-client; else apt_install incus incus-client; fi
            elif [ "$mode" = run ] && has_candidate lxd && lxd_comes_by_apt; then
                say 'apt has no Incus here; installing LXD instead'
                apt_install lxd lxd-client
            else
                die 'apt has neither Incus nor LXD here' 'install one of them by hand, then run this again'
            fi
            ;;
    esac
    one_id_range
}

# Each engine's package adds a range of user ids for root. A second one makes every Incus start fail in newuidmap. A line
# for a single id, as envs with mounts need one, is no range.
one_id_range() {
    local file
    for file in /etc/subuid /etc/subgid; do
        case $(grep -c '^root:.*:[0-9]\{2,\}$' "$file" 2>/dev/null || true) in
            1) ;;
            0 | '') as_root tee -a "$file" >/dev/null <<<'root:1000000:1000000000' ;;
            *)
                say "$file has several ranges for root; keeping the first"
                as_root sed -i '/^root:.*:[0-9]\{2,\}$/{x;s/^/x/;/^x\{2,\}$/{x;d};x}' "$file"
                ;;
        esac
    done
}

main() {
    mode=${1:-}
    case $mode in
        run | build | test | image) ;;
        -h | --help | help) usage; return ;;
        *) usage >&2; exit 2 ;;
    esac
    command -v apt-get >/dev/null ||
        die 'this system has no apt' 'install by hand what scripts/setup.sh names; for a Mac see docs/getting-started.md'
    # shellcheck source=/dev/null
    . /etc/os-release
    case ${ID:-}:${ID_LIKE:-} in
        debian:* | ubuntu:*) ;;
        *debian* | *ubuntu*) say "made for Debian and Ubuntu; trying on ${PRETTY_NAME:-$ID}" ;;
    esac

    find_missing
    ! nothing_missing || return 0
    ask
    log=$(mktemp /tmp/lxc-dev-manager-setup.XXXXXX)
    if [ ${#packages[@]} != 0 ] || [ ${#engines[@]} != 0 ] || [ $rust$node != nono ]; then
        apt_get update || apt_failed 'update failed'
    fi
    # btrfs-progs among them: an engine that starts without it doesn't offer btrfs.
    [ ${#packages[@]} = 0 ] || apt_install "${packages[@]}"
    local engine
    for engine in "${engines[@]}"; do install_engine "$engine"; done
    [ $rust = no ] || install_rust
    [ $node = no ] || install_node
    [ $driver_missing = no ] || install_driver
    rm -f "$log"
    say 'everything is there'
}

main "$@"
