# Gives a copied guest a machine id of its own. Host keys and host name are made anew by Lima in every boot. POSIX sh.
[ -e /etc/machine-id ] || exit 0
id=$(tr -d - </proc/sys/kernel/random/uuid) || exit 1
for file in /etc/machine-id /var/lib/dbus/machine-id; do
    # A link leads to the first one.
    if [ -f "$file" ] && [ ! -L "$file" ]; then
        printf '%s\n' "$id" >"$file.new" && chmod 444 "$file.new" && mv -f "$file.new" "$file" || exit 1
    fi
done
# The host notes that it is done: it has to outlast a power cut.
sync
