# Runs provision scripts with the traces of Lima's own boot script. A failing one doesn't stop the others.
set -u
exec 2>&1
code=0

say() { echo "LIMA $(date -Iseconds)| $*"; }

execute() { # SCRIPT SHOWN COMMAND...
    script=$1 shown=$2
    shift 2
    say "Executing $shown"
    if ! "$@"; then
        say "WARNING: Failed to execute $shown"
        code=1
    fi
}

rm -f /run/lima-boot-done
for mode in boot dependency system; do
    for script in "$LIMA_CIDATA_MNT/provision.$mode"/*; do
        [ ! -e "$script" ] || execute "$script" "$script" "$script"
    done
done

for script in "$LIMA_CIDATA_MNT"/provision.user/*; do
    [ -e "$script" ] || continue
    copy=$LIMA_CIDATA_HOME/.lima-user-script
    cp "$script" "$copy"
    chown "$LIMA_CIDATA_USER" "$copy"
    chmod 755 "$copy"
    execute "$script" "$script (as user $LIMA_CIDATA_USER)" \
        sudo -iu "$LIMA_CIDATA_USER" "--preserve-env=$LIMA_PARAMS" "XDG_RUNTIME_DIR=/run/user/$LIMA_CIDATA_UID" "$copy"
    rm -f "$copy"
done

echo "$LIMA_CIDATA_IID" >/run/lima-boot-done
say "Exiting with code $code"
exit "$code"
