# Prints the guest's usage: `processes N`, `memory BYTES`, `cpu NANOSECONDS`, `address ADDRESS` lines. POSIX sh.
set -- /proc/[0-9]*
echo "processes $#"
awk '/^MemTotal:/ { total = $2 } /^MemAvailable:/ { free = $2 } END { print "memory " (total - free) * 1024 }' /proc/meminfo
# Unit: 1/100 s; idle and iowait don't count.
awk '/^cpu / { print "cpu " ($2 + $3 + $4 + $7 + $8) "0000000"; exit }' /proc/stat
ip -o addr show scope global 2>/dev/null | awk '{ sub("/.*", "", $4); print "address " $4 }'
