# Waits until init handles signals: an earlier shutdown signal is lost. POSIX sh; at most 30 s.
case $(readlink -f /sbin/init 2>/dev/null || true) in
*/systemd)
    i=0
    while [ ! -S /run/systemd/private ] && [ "$i" -lt 600 ]; do
        i=$((i + 1))
        sleep 0.05 2>/dev/null || { sleep 1; i=$((i + 19)); }
    done
    ;;
esac
