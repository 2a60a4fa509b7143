# Runs the script below the last line and records its exit code under $number: Lima only logs it. POSIX sh.
notes=/run/lxc-dev-manager-provision
# shellcheck disable=SC2154 # set in a line above, per machine
rm -f "$notes/$number"
case $(id -u) in 0) home=/root ;; *) home=$HOME ;; esac
# A directory that isn't mounted noexec.
[ -d "$home" ] || home=/tmp
script=$(mktemp "$home/.ldm-provision.XXXXXX") || exit 1
trap 'rm -f "$script"' EXIT
sed '1,/^# ---- the script ----$/d' "$0" >"$script" && chmod 700 "$script" || exit 1
"$script"
code=$?
echo "$code" >"$notes/$number"
exit "$code"
# ---- the script ----
