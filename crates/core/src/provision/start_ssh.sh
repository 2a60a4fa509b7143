# Starts sshd now and at every boot, and waits until it runs. POSIX sh; systemd, OpenRC, or neither.
set -eu
PATH=$PATH:/usr/sbin:/sbin

case $(readlink -f /sbin/init 2>/dev/null || true) in
*/systemd)
    # In the first moments of a boot systemd doesn't listen yet.
    i=0
    while [ ! -S /run/systemd/private ] && [ "$i" -lt 600 ]; do
        i=$((i + 1))
        sleep 0.05 2>/dev/null || sleep 1
    done
    unit=ssh
    if [ ! -e /lib/systemd/system/ssh.service ] && [ ! -e /usr/lib/systemd/system/ssh.service ]; then
        unit=sshd
    fi
    systemctl -q is-enabled "$unit" || systemctl -q enable "$unit"
    # One that runs already has read its settings before ours were there.
    systemctl -q try-reload-or-restart "$unit"
    systemctl start "$unit"
    ;;
*)
    if command -v rc-service >/dev/null 2>&1; then
        rc-update add sshd default >/dev/null 2>&1
        rc-service sshd restart >&2
    else
        mkdir -p /run/sshd
        if [ -f /run/sshd.pid ] && kill -HUP "$(cat /run/sshd.pid)" 2>/dev/null; then exit 0; fi
        "$(command -v sshd)"
    fi
    ;;
esac
