# A login shell. $1 user, $2 names of variables that it keeps, joined by commas.
# `su` of busybox keeps none: there they are lost.
if [ -n "$2" ] && su --help 2>&1 | grep -q -e '--whitelist-environment'; then
    exec su -w "$2" -l "$1"
fi
exec su -l "$1"
