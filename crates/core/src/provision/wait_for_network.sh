# Waits until the guest has a default route, IPv4 or IPv6, and so an address. At most 30 s.
i=0
while [ "$i" -lt 600 ]; do
    if [ -r /proc/net/route ]; then
        while read -r interface destination rest; do
            [ "$destination" = 00000000 ] && exit 0
        done </proc/net/route
    fi
    if [ -r /proc/net/ipv6_route ]; then
        while read -r destination length source source_length hop metric use ref flags interface; do
            [ "$length" = 00 ] && [ "$interface" != lo ] && exit 0
        done </proc/net/ipv6_route
    fi
    i=$((i + 1))
    sleep 0.05 2>/dev/null || { sleep 1; i=$((i + 19)); }
done
exit 75
