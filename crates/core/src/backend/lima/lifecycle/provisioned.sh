# Exit code 3 where a script of the template has failed in this boot. Then a line says which and with what exit code, as it
# noted itself, and the end of its log follows. With `words` as $1 there are scripts that note nothing: for those the
# words of Lima in the log count. POSIX sh.
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
# They are of this boot.
rm -rf "$notes"
# What stands in the log before its first failure in this boot. A boot begins there with scripts of Lima's own.
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
