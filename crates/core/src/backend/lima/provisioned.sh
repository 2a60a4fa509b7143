# Exit code 3, and the words before it, where a script of the template has failed in this boot: Lima goes on without it,
# and leaves a warning in cloud-init's log. A boot begins there with scripts of Lima's own. POSIX sh.
log=/var/log/cloud-init-output.log
[ -r "$log" ] || exit 0
failed=$(awk '
    /LIMA .*\| Executing .*\/boot\./ { if (!own) { failed = 0; words = "" } own = 1 }
    /LIMA .*\| Executing .*\/provision\./ { own = 0; words = ""; next }
    /WARNING: Failed to execute .*\/provision\./ { if (!failed) kept = words; failed = 1 }
    { words = last $0 "\n"; last = $0 "\n" }
    END { if (failed) printf "%s", kept == "" ? "nothing\n" : kept }
' "$log")
[ -n "$failed" ] || exit 0
printf '%s\n' "$failed"
exit 3
