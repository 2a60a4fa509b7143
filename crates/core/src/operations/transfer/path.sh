# Prefix of scripts with `$1` user and `$2` path: finds the user's passwd entry and makes the path absolute. Exit 45:
# unknown user.
user=$1
path=$2
entry=$(getent passwd "$user" 2>/dev/null || grep "^$user:" /etc/passwd) || {
    echo "no such user in the env: $user" >&2
    exit 45
}
home=$(printf '%s\n' "$entry" | cut -d: -f6)
# shellcheck disable=SC2088 # a literal tilde
case $path in
'' | '~') path=$home ;;
'~/'*) path=$home/${path#'~/'} ;;
/*) ;;
*) path=$home/$path ;;
esac
