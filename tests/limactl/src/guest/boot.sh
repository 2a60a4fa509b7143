# boot.sh DATA USER HOME: runs provision scripts with the traces of Lima's own boot script. A failing one doesn't stop the
# others.
set -u
exec 2>&1
data=$1 user=$2 home=$3

say() { echo "LIMA $(date -Iseconds)| $*"; }

execute() { # SCRIPT COMMAND...
    script=$1
    shift
    say "Executing $script"
    "$@" || say "WARNING: Failed to execute $script"
}

for mode in boot dependency system; do
    for script in "$data/provision.$mode"/*; do
        [ ! -e "$script" ] || execute "$script" "$script"
    done
done

for script in "$data"/provision.user/*; do
    [ -e "$script" ] || continue
    copy=$home/.lima-user-script
    cp "$script" "$copy"
    chown "$user" "$copy"
    chmod 755 "$copy"
    execute "$script" sudo -iu "$user" "$copy"
    rm -f "$copy"
done
