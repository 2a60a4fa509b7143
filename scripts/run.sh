#!/bin/bash
# From a fresh clone to a web page in an env: installs what is missing, starts an engine, builds, makes the sample project
# and forwards its port. Does only what isn't done yet, so a second run takes seconds.
#
#   YES=1     install without asking
#   NO_APP=1  without the desktop app
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/engine.sh
. "$repo/scripts/engine.sh"

sample=$HOME/lxc-dev-manager-hello
state=${LDM_HOME:-$HOME/.lxc-dev-manager}
bin=${CARGO_TARGET_DIR:-$repo/target}/release
env_name=main
with_server=with-server

ldm() { (cd "$sample" && "$bin/lxc-dev-manager" "$@"); }

# ---- the sample project ----------------------------------------------------------------------------------------------

make_project() {
    if [ ! -d "$sample" ]; then
        mkdir "$sample"
        cp "$repo"/examples/hello/* "$sample/"
    fi
    [ -f "$sample/containers.yaml" ] || ldm create -n hello -p "$(free_port 8000)"
}

# The file is the truth about the port: people edit it.
port_of_sample() {
    local port
    port=$(awk '/^ *ports:/ { seen = 1 } seen && !done && match($0, /[0-9]+/) { print substr($0, RSTART, RLENGTH); done = 1 }' \
        "$sample/containers.yaml")
    echo "${port:-8000}"
}

free_port() { # FIRST
    local port
    for port in $(seq "$1" "$(($1 + 50))"); do
        if ! grep -qi ":$(printf %04X "$port") [0-9A-F:]* 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no port is free between $1 and $port" 'end one of the servers there'
}

# An env that the file lists is started; where the engine has lost it, it is made again.
make_env() {
    local image message=
    if grep -qE "^ +$env_name:" "$sample/containers.yaml"; then
        message=$(ldm up "$env_name" 2>&1) && return
    fi
    image=$(find_image)
    say "making the env $env_name from $image"
    if ! ldm container create "$env_name" "$image"; then
        [ -z "$message" ] || printf 'and before that:\n%s\n' "$message" >&2
        die "the env $env_name could not be made" 'see the message above'
    fi
}

# As a service of the env's own, so that it comes back with it.
install_server() {
    ldm exec -u root "$env_name" -- sh -c '
        set -eu
        mkdir -p /opt/hello
        cat >/opt/hello/server.pl
        cat >/etc/systemd/system/hello.service <<END
[Unit]
Description=The sample web server

[Service]
User=www-data
StateDirectory=hello
ExecStart=/usr/bin/perl /opt/hello/server.pl $1 /var/lib/hello/visits
Restart=always

[Install]
WantedBy=multi-user.target
END
        systemctl daemon-reload
        systemctl enable --now hello' sh "$port" <"$repo/examples/hello/server.pl" 2>/dev/null
}

serves() { # inside the env, whatever the host sees
    ldm exec "$env_name" -- systemctl is-active -q hello </dev/null >/dev/null 2>&1
}

serve() {
    serves && return
    say "putting the sample web server into $env_name"
    install_server || die 'the sample web server could not be started' \
        "look into: $bin/lxc-dev-manager exec $env_name -- systemctl status hello"
    ldm container snapshot create "$env_name" $with_server -d 'With the sample web server' >/dev/null 2>&1 || true
}

# ---- forwarding ------------------------------------------------------------------------------------------------------

# Our own, and still alive: the number alone may belong to another process.
proxy_runs() {
    local pid
    pid=$(cat "$state/run/hello-proxy.pid" 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$(readlink -f "$sample")" ] &&
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q " proxy $env_name"
}

forward() {
    local log=$state/log/hello-proxy.log
    proxy_runs && return
    mkdir -p "$state/log" "$state/run"
    chmod 700 "$state"
    # Of its own session, without this terminal: it goes on when both are gone.
    (cd "$sample" && exec setsid "$bin/lxc-dev-manager" proxy "$env_name" </dev/null >"$log" 2>&1) &
    echo $! >"$state/run/hello-proxy.pid"
    disown
}

wait_for_page() {
    local tries
    for tries in $(seq 75); do
        # Ours, not another process on that port.
        if [[ $(curl -fs --noproxy '*' --max-time 2 "$url") == *lxc-dev-manager* ]]; then return; fi
        if [ "$tries" -gt 5 ] && ! proxy_runs; then
            tail -n 5 "$state/log/hello-proxy.log" >&2
            die "the port $port is not forwarded" "see $state/log/hello-proxy.log; is the port taken? then change containers.yaml in $sample"
        fi
        sleep 0.2
    done
    die "$url does not answer" "see $state/log/hello-proxy.log, and: lxc-dev-manager exec $env_name -- systemctl status hello"
}

# ---- the app ---------------------------------------------------------------------------------------------------------

start_app() {
    local pid
    wants_app || return 0
    pid=$(cat "$state/run/app.pid" 2>/dev/null || true)
    # A second one would only show the first one's window.
    if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/exe" 2>/dev/null)" = "$bin/lxc-dev-manager-desktop" ]; then return; fi
    mkdir -p "$state/log" "$state/run"
    (cd / && exec setsid "$bin/lxc-dev-manager-desktop" </dev/null >"$state/log/app.log" 2>&1) &
    echo $! >"$state/run/app.pid"
    disown
}

# What sg gave to this script, the user's own shell doesn't have.
needs_group() {
    [ -z "${LDM_JOINED:-}" ] || printf '    newgrp %s          # or log in again\n' "$(stat -c %G "$engine_dir/unix.socket")"
}

print_next_steps() {
    cat <<END

  $url   the web server in the env \`$env_name\`

  Try next:

$(needs_group)    cd $sample
    export PATH=$bin:\$PATH

    lxc-dev-manager list
    lxc-dev-manager ssh $env_name
    lxc-dev-manager container snapshot create $env_name before
    lxc-dev-manager container reset $env_name before
    lxc-dev-manager remove $env_name

  The port is forwarded in the background; to end that: kill $(cat "$state/run/hello-proxy.pid")
END
    if wants_app; then
        echo '  The app is in the tray.'
    else
        echo '  Run this where there is a display, without NO_APP=1, to have the app in the tray too.'
    fi
}

main() {
    "$repo/scripts/setup.sh" run
    choose_engine
    start_engine
    join_group "$@"
    initialise
    # One engine for all that follows, also where both are there.
    case $engine in
        lxd) export LXD_DIR=$engine_dir ;;
        incus) export INCUS_DIR=$engine_dir ;;
    esac

    "$repo/scripts/build.sh" cli
    if wants_app; then "$repo/scripts/build.sh" app; fi

    make_project
    port=$(port_of_sample)
    url=http://127.0.0.1:$port/
    make_env
    serve
    forward
    wait_for_page
    start_app
    print_next_steps
}

main "$@"
