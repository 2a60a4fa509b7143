# Runs a command as the guest's root: $1 names the run, the rest is the command. POSIX sh.
# A run's name stands in the arguments of sudo, by which signal.sh finds it.
run=$1
shift
HOME=/root USER=root LOGNAME=root LANG=${LANG:-C.UTF-8} SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
export HOME USER LOGNAME LANG SHELL PATH
unset SUDO_COMMAND SUDO_USER SUDO_UID SUDO_GID MAIL OLDPWD
# Variables came before, in a file: arguments are for everybody to see.
variables=/run/lxc-dev-manager/$run
if [ -f "$variables" ]; then
    # shellcheck disable=SC1090 # written by us, a moment ago
    . "$variables"
    rm -f "$variables"
fi
cd /root 2>/dev/null || cd /
unset run variables
exec "$@"
