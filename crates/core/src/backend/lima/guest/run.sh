# Runs a command as root: $1 is the id of the run, the rest is the command. POSIX sh.
# The id is an argument of sudo, by which signal.sh finds the process.
run=$1
shift
HOME=/root USER=root LOGNAME=root LANG=${LANG:-C.UTF-8} SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
export HOME USER LOGNAME LANG SHELL PATH
unset SUDO_COMMAND SUDO_USER SUDO_UID SUDO_GID MAIL OLDPWD
# Sent ahead in a file: arguments are visible to every process.
variables=/run/lxc-dev-manager/$run
if [ -f "$variables" ]; then
    # shellcheck disable=SC1090 # written by variables.sh
    . "$variables"
    rm -f "$variables"
fi
cd /root 2>/dev/null || cd /
unset run variables
exec "$@"
