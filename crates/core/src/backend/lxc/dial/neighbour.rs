//! Owners of addresses in the kernel's neighbour table.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// The kernel's table of IPv4 neighbours.
const ARP_TABLE: &str = "/proc/net/arp";
/// Flag of a confirmed entry (`ATF_COM` of `linux/if_arp.h`).
const COMPLETE: u32 = 2;

/// Whether another host owns the address. An unknown neighbour is behind a router or uses IPv6,
/// where addresses are not reused.
pub(super) fn is_foreign(address: IpAddr, expected: &BTreeSet<String>) -> bool {
    let IpAddr::V4(address) = address else {
        return false;
    };
    // Takes microseconds.
    let table = std::fs::read_to_string(ARP_TABLE).unwrap_or_default();
    let mut found = hardware_addresses(&table, address).peekable();
    !expected.is_empty()
        && found.peek().is_some()
        && !found.any(|one| expected.contains(&one.to_lowercase()))
}

/// Columns: address, type, flags, hardware address, mask, device. One row per device.
fn hardware_addresses(table: &str, address: Ipv4Addr) -> impl Iterator<Item = &str> {
    let rows = table.lines().skip(1);
    rows.filter_map(move |row| {
        let mut columns = row.split_whitespace();
        let of: Ipv4Addr = columns.next()?.parse().ok()?;
        let flags = columns.nth(1)?.strip_prefix("0x")?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let hardware = columns.next()?;
        (of == address && flags & COMPLETE != 0).then_some(hardware)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARP: &str =
        "IP address       HW type     Flags       HW address            Mask     Device
10.1.2.3         0x1         0x2         00:16:3e:11:22:33     *        lxdbr0
10.1.2.4         0x1         0x0         00:00:00:00:00:00     *        lxdbr0
10.1.2.30        0x1         0x6         00:16:3e:44:55:66     *        lxdbr0
10.1.2.3         0x1         0x0         00:16:3e:99:99:99     *        incusbr0
";

    fn of(address: &str) -> Vec<&str> {
        hardware_addresses(ARP, address.parse().unwrap()).collect()
    }

    #[test]
    fn ignores_unconfirmed_neighbours() {
        assert_eq!(of("10.1.2.3"), ["00:16:3e:11:22:33"]);
        assert_eq!(of("10.1.2.30"), ["00:16:3e:44:55:66"]);
        assert!(of("10.1.2.4").is_empty());
        assert!(of("10.1.2.5").is_empty());
        assert_eq!(hardware_addresses("", Ipv4Addr::LOCALHOST).next(), None);
    }

    #[test]
    fn unknown_neighbour_is_not_foreign() {
        let hardware = BTreeSet::from(["00:16:3e:11:22:33".to_owned()]);
        // These have no neighbour entry.
        assert!(!is_foreign("127.0.0.1".parse().unwrap(), &hardware));
        assert!(!is_foreign("::1".parse().unwrap(), &hardware));
    }
}
