# Stands before scripts that get `$1` user and `$2` path: finds the user's entry in the table of accounts, and makes the
# path an absolute one. Exit 45 for a user that isn't there.
user=$1
path=$2
entry=$(getent passwd "$user" 2>/dev/null || grep "^$user:" /etc/passwd) || {
    echo "there is no user $user in this env" >&2
    exit 45
}
home=$(printf '%s\n' "$entry" | cut -d: -f6)
# shellcheck disable=SC2088 # the tilde as it was written
case $path in
'' | '~') path=$home ;;
'~/'*) path=$home/${path#'~/'} ;;
/*) ;;
*) path=$home/$path ;;
esac
