# Prints the listening sockets of the guest, then the sockets and names of its processes. POSIX sh and busybox.
# State 0A is LISTEN; each section begins with a line with its name.
echo tcp
grep -h ' 0A ' /proc/net/tcp 2>/dev/null
echo tcp6
grep -h ' 0A ' /proc/net/tcp6 2>/dev/null
echo holders
# Lines of `ls`: `/proc/1/fd:`, and `… 3 -> socket:[123]`. Processes may end meanwhile.
# shellcheck disable=SC2010 # kernel names without blanks
ls -l /proc/[0-9]*/fd 2>/dev/null | grep -e '^/proc/' -e ' -> socket:'
echo names
grep -H . /proc/[0-9]*/comm 2>/dev/null
exit 0
