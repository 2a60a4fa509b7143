# Exits with 3 if a provision script of the template failed in this boot: prints its number and exit code, then the end
# of the log. With `words` as $1 some scripts don't record exit codes; then Lima's warnings in the log count. POSIX sh.
notes=/run/lxc-dev-manager-provision
log=/var/log/cloud-init-output.log
failed=
for note in "$notes"/*; do
    [ -f "$note" ] || continue
    read -r code <"$note"
    if [ "$code" != 0 ]; then
        failed="${note##*/} $code"
        break
    fi
done
# Recorded in this boot.
rm -rf "$notes"
# Log lines before the first failure in this boot; a boot starts with scripts of Lima itself.
words=
[ ! -r "$log" ] || words=$(awk '
    /LIMA .*\| Executing .*\/boot\./ { if (!own) failed = 0; own = 1 }
    /LIMA .*\| Executing .*\/provision\./ { own = 0; count = 0; next }
    /LIMA .*WARNING: Failed to execute .*\/provision\./ && !failed {
        failed = 1
        text = ""
        for (i = count > 10 ? count - 10 : 0; i < count; i++) text = text line[i] "\n"
    }
    { line[count++] = $0 }
    END { if (failed) printf "%s", text == "" ? "(nothing)\n" : text }
' "$log")
if [ -z "$failed" ] && [ "$1" = words ] && [ -n "$words" ]; then failed='- -'; fi
[ -n "$failed" ] || exit 0
printf '%s\n%s\n' "$failed" "$words"
exit 3
