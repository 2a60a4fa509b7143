# Prints the ids of a user and its group. $1 user.
entry=$(getent passwd "$1" 2>/dev/null || grep "^$1:" /etc/passwd) || {
    echo "this env has no user $1" >&2
    exit 1
}
printf '%s\n' "$entry" | cut -d: -f3,4
