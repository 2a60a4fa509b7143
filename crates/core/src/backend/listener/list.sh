# Prints the listening sockets of this guest, then which process holds which socket. POSIX sh and busybox.
# State 0A is LISTEN; the parts stand after a line with their name.
echo tcp
grep -h ' 0A ' /proc/net/tcp 2>/dev/null
echo tcp6
grep -h ' 0A ' /proc/net/tcp6 2>/dev/null
echo holders
# Lines of `ls`: `/proc/1/fd:`, and `… 3 -> socket:[123]`. Processes end while they are listed.
# shellcheck disable=SC2010 # names of the kernel's, without blanks
ls -l /proc/[0-9]*/fd 2>/dev/null | grep -e '^/proc/' -e ' -> socket:'
echo names
grep -H . /proc/[0-9]*/comm 2>/dev/null
exit 0
