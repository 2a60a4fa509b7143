# Gives a copied guest a new machine id. Lima renews host keys and host name in every boot. POSIX sh.
[ -e /etc/machine-id ] || exit 0
id=$(tr -d - </proc/sys/kernel/random/uuid) || exit 1
for file in /etc/machine-id /var/lib/dbus/machine-id; do
    # Skips links to the first file.
    if [ -f "$file" ] && [ ! -L "$file" ]; then
        printf '%s\n' "$id" >"$file.new" && chmod 444 "$file.new" && mv -f "$file.new" "$file" || exit 1
    fi
done
# The host records the completion, so it has to survive a power cut.
sync
