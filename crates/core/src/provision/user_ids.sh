# Prints the numbers of a user and its group. $1 user.
entry=$(getent passwd "$1" 2>/dev/null || grep "^$1:" /etc/passwd) || {
    echo "there is no user $1 in this env" >&2
    exit 1
}
printf '%s\n' "$entry" | cut -d: -f3,4
