# Runs the script below the last line of this one, and notes its exit code under $number: Lima only logs it. POSIX sh.
notes=/run/lxc-dev-manager-provision
# shellcheck disable=SC2154 # a line above, of the machine's own
rm -f "$notes/$number"
case $(id -u) in 0) home=/root ;; *) home=$HOME ;; esac
# Where everything may be executed.
[ -d "$home" ] || home=/tmp
script=$(mktemp "$home/.ldm-provision.XXXXXX") || exit 1
trap 'rm -f "$script"' EXIT
sed '1,/^# ---- the script ----$/d' "$0" >"$script" && chmod 700 "$script" || exit 1
"$script"
code=$?
echo "$code" >"$notes/$number"
exit "$code"
# ---- the script ----
