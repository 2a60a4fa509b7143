# Starts sshd now and at every boot, and waits until it runs. POSIX sh; systemd, OpenRC, or neither.
set -eu
PATH=$PATH:/usr/sbin:/sbin

case $(readlink -f /sbin/init 2>/dev/null || true) in
*/systemd)
    # Early in the boot systemd does not listen yet.
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
    # Applies our settings to a running sshd. A reload would return before sshd listens again.
    systemctl restart "$unit"
    ;;
*)
    if command -v rc-service >/dev/null 2>&1; then
        rc-update add sshd default >/dev/null 2>&1
        rc-service sshd restart >&2
    else
        # Probably a busybox init: /etc/inittab lists its services.
        sshd=$(command -v sshd)
        table=/etc/inittab
        if [ ! -f $table ]; then
            echo 'unsupported init: expected systemd, OpenRC, or one with /etc/inittab' >&2
            exit 1
        fi
        grep -q "^[^#]*$sshd" $table || printf '::once:/bin/mkdir -p /run/sshd\n::once:%s\n' "$sshd" >>$table
        mkdir -p /run/sshd
        pid=$(cat /run/sshd.pid 2>/dev/null || true)
        # In a copied instance this may be another process.
        if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sshd ]; then
            # sshd writes the file again once it listens.
            rm -f /run/sshd.pid
            kill -HUP "$pid"
            i=0
            while [ ! -s /run/sshd.pid ] && [ "$i" -lt 200 ]; do
                i=$((i + 1))
                sleep 0.05 2>/dev/null || sleep 1
            done
        else
            "$sshd"
        fi
    fi
    ;;
esac
