//! What `lsof -F pctn` says of listening sockets: a line for each field, by the letter that it begins with. `p` and `c` are
//! a process and its name, and `t` and `n` the family and the address of each of its sockets that follow.
//! Source: OUTPUT FOR OTHER PROGRAMS in lsof(8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::owner::{Owner, nearest};

/// The process that keeps others from listening at this address, of those that listen on one port.
pub(super) fn owner(said: &str, wanted: IpAddr) -> Option<Owner> {
    let (mut pid, mut name, mut is_v6) = (None, "", false);
    let mut found = Vec::new();
    for line in said.lines() {
        let Some((field, value)) = line.split_at_checked(1) else {
            continue;
        };
        match field {
            "p" => pid = value.parse::<i32>().ok(),
            "c" => name = value,
            "t" => is_v6 = value == "IPv6",
            "n" => found.extend(pid.zip(address(value, is_v6)).map(|known| (known, name))),
            _ => {}
        }
    }
    let ((pid, _), name) = nearest(&found, |((_, listener), _)| *listener, wanted)?;
    Some(Owner::Process {
        name: (*name).to_owned(),
        pid: *pid,
    })
}

/// The address of `127.0.0.1:80`, `[::1]:80` or `*:80`.
fn address(text: &str, is_v6: bool) -> Option<IpAddr> {
    let (address, _) = text.rsplit_once(':')?;
    match address {
        "*" if is_v6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        "*" => Some(Ipv4Addr::UNSPECIFIED.into()),
        _ => address.trim_matches(['[', ']']).parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_at_an_address_is_found_among_those_of_a_port() {
        let said = "p610\ncControlCenter\nf9\ntIPv4\nn*:5000\nf10\ntIPv6\nn*:5000\n\
                    p702\ncmy web server\nf3\ntIPv4\nn127.0.0.1:5000\np800\ncodd\nf3\ntIPv6\nn[::1]:5000\n";
        let named = |wanted: &str| match owner(said, wanted.parse().unwrap()) {
            Some(Owner::Process { name, pid }) => format!("{name} {pid}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(named("127.0.0.1"), "my web server 702");
        assert_eq!(named("::1"), "odd 800");
        assert_eq!(named("192.0.2.1"), "ControlCenter 610");
        assert_eq!(
            owner(
                "p1\ncsomebody\ntIPv4\nn127.0.0.2:5000\n",
                "127.0.0.1".parse().unwrap()
            ),
            None
        );
        assert_eq!(
            owner("p\nn\nrubbish\u{e9}\nn:\n", "127.0.0.1".parse().unwrap()),
            None
        );
    }
}
