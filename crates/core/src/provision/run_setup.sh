# Runs a script as a user, in the user's home. $1 user, $2 the constant script that runs a command
# as a user; stdin: the script. POSIX sh. Errors are merged into the output; the exit code is the
# script's.
set -eu
user=$1
run_as=$2
home=$(grep "^$user:" /etc/passwd | cut -d: -f6)
# In the home: /tmp may be mounted noexec.
[ -d "$home" ] || home=/tmp
directory=$(mktemp -d "$home/.ldm-setup.XXXXXX")
trap 'rm -rf "$directory"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'exit 129' HUP
cat >"$directory/setup"
chown -R "$user" "$directory"
chmod 0700 "$directory/setup"
# Without a #! line the interpreter is sh.
if [ "$(head -c 2 "$directory/setup")" = '#!' ]; then
    set -- "$directory/setup"
else
    set -- sh "$directory/setup"
fi
code=0
sh -c "$run_as" sh "$user" "$@" </dev/null 2>&1 || code=$?
exit "$code"
