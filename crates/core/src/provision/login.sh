# Starts a login shell. $1 user, $2 names of variables to keep, separated by commas.
# The `su` of busybox keeps none.
if [ -n "$2" ] && su --help 2>&1 | grep -q -e '--whitelist-environment'; then
    exec su -w "$2" -l "$1"
fi
exec su -l "$1"
