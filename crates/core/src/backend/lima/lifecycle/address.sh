# Prints the guest's IPv4 address on the vz driver's shared network, if it has one. POSIX sh.
ip -4 -o addr show dev lima0 2>/dev/null | awk '{ sub("/.*", "", $4); print $4; exit }'
