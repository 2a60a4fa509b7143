# Runs a command as a user, in the user's home, with all groups. $1 user, $2… the command.
user=$1
shift
entry=$(getent passwd "$user" 2>/dev/null || grep "^$user:" /etc/passwd) || {
    echo "this env has no user $user" >&2
    exit 125
}
HOME=$(printf '%s\n' "$entry" | cut -d: -f6)
SHELL=$(printf '%s\n' "$entry" | cut -d: -f7)
USER=$user
LOGNAME=$user
export HOME SHELL USER LOGNAME
cd "$HOME" 2>/dev/null || cd /
if [ "$user" = root ]; then
    exec "$@"
elif command -v runuser >/dev/null 2>&1; then
    # Unlike `su -c` this keeps the terminal's session, so that Ctrl+C works.
    # The inner shell returns the usual codes 127 and 126; runuser itself would return 1.
    # shellcheck disable=SC2016 # expanded by the inner shell, from its arguments
    exec runuser -u "$user" -- sh -c 'exec "$@"' sh "$@"
else
    # Options first: some su would parse the command's options.
    # shellcheck disable=SC2016 # expanded by the inner shell, from its arguments
    exec su -s /bin/sh -c 'exec "$@"' -- "$user" sh "$@"
fi
