//! Listening ports of a guest, from the output of one command.
//!
//! Format: `proc_pid_net(5)`. Addresses are printed as native words, which are read as little-endian: envs run on
//! little-endian architectures only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::{Backend, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{GuestPort, InstanceName};

/// Prints the sockets, their processes and the names of the processes.
pub const LIST_LISTENERS: &str = include_str!("list.sh");
/// Name prefix of our own relays, which are not listed.
pub(super) const RELAY_NAME_PREFIX: &str = "ldm-relay-";

/// A listening TCP port of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    pub port: GuestPort,
    /// Its addresses; `::` may include IPv4.
    pub addresses: Vec<IpAddr>,
    /// The listening process, if visible.
    pub process: Option<Process>,
}

/// A process of a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Process {
    /// Pid in the guest.
    pub pid: u32,
    /// Its name, at most 15 characters.
    pub name: String,
}

/// Lists the listening ports of a running instance.
///
/// # Errors
/// Those of [`Backend::exec`].
pub async fn listeners(backend: &dyn Backend, name: &InstanceName) -> Result<Vec<Listener>> {
    let output = run_script(backend, name, LIST_LISTENERS, &[], Vec::new()).await?;
    if output.code != 0 {
        let message = format!("cannot list the listening ports of `{name}`");
        let cause = Error::new(ErrorKind::Guest, output.last_line());
        return Err(Error::new(ErrorKind::Guest, message).caused_by(cause));
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

/// A listening socket.
struct Socket {
    address: IpAddr,
    port: GuestPort,
    inode: u64,
}

fn read(text: &str) -> Vec<Listener> {
    let (mut sockets, mut holders, mut names) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let (mut part, mut pid) = ("", None);
    for line in text.lines() {
        match (line, part) {
            ("tcp" | "tcp6" | "holders" | "names", _) => part = line,
            (_, "tcp" | "tcp6") => sockets.extend(socket(line)),
            (_, "holders") => match line.strip_suffix(':') {
                Some(directory) => pid = pid_of(directory),
                // The lowest pid: children inherit the socket of their server.
                None => {
                    if let (Some(pid), Some(inode)) = (pid, inode(line)) {
                        let first = holders.entry(inode).or_insert(pid);
                        *first = pid.min(*first);
                    }
                }
            },
            (_, "names") => names.extend(comm(line)),
            _ => {}
        }
    }
    let mut found: BTreeMap<(GuestPort, Option<Process>), Vec<IpAddr>> = BTreeMap::new();
    for Socket {
        address,
        port,
        inode,
    } in sockets
    {
        let process = holders.get(&inode).and_then(|pid| {
            let name = names.get(pid).cloned()?;
            Some(Process { pid: *pid, name })
        });
        let addresses = found.entry((port, process)).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let services = found.into_iter().filter(|((_, process), _)| {
        !process
            .as_ref()
            .is_some_and(|process| process.name.starts_with(RELAY_NAME_PREFIX))
    });
    services
        .map(|((port, process), addresses)| Listener {
            port,
            addresses,
            process,
        })
        .collect()
}

/// `   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 …`
fn socket(line: &str) -> Option<Socket> {
    let mut columns = line.split_whitespace();
    let (address, port) = columns.nth(1)?.split_once(':')?;
    let state = columns.nth(1)?;
    let port = u16::from_str_radix(port, 16)
        .ok()
        .and_then(GuestPort::new)?;
    let inode = columns.nth(5)?.parse().ok()?;
    let socket = Socket {
        address: address_of(address)?,
        port,
        inode,
    };
    (state == "0A").then_some(socket)
}

fn address_of(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    let words = text.as_bytes().chunks(8);
    for word in words {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_le_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        // Converts IPv4-mapped addresses.
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

/// `/proc/12/fd`
fn pid_of(directory: &str) -> Option<u32> {
    directory
        .strip_prefix("/proc/")?
        .split('/')
        .next()?
        .parse()
        .ok()
}

/// `lrwx------ 1 root root 64 Jan  1 00:00 3 -> socket:[12345]`
fn inode(line: &str) -> Option<u64> {
    let (_, target) = line.rsplit_once("socket:[")?;
    target.strip_suffix(']')?.parse().ok()
}

/// `/proc/12/comm:nginx`
fn comm(line: &str) -> Option<(u32, String)> {
    let (path, name) = line.split_once(':')?;
    Some((pid_of(path)?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "tcp
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 101 1 0000000000000000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0000000000000000 100 0 0 10 0
   2: 0301010A:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 103 1 0000000000000000 100 0 0 10 0
   3: 0100007F:1F91 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 109 1 0000000000000000 100 0 0 10 0
tcp6
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 104 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:1435 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 105 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1436 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 106 1 0000000000000000 100 0 0 10 0
holders
/proc/1/fd:
lrwx------    1 root     root            64 Jan  1 00:00 3 -> socket:[999]
/proc/40/fd:
lrwx------ 1 dev dev 64 Jan  1 00:00 19 -> socket:[105]
lrwx------ 1 dev dev 64 Jan  1 00:00 20 -> socket:[101]
/proc/31/fd:
lrwx------ 1 root root 64 Jan  1 00:00 3 -> socket:[102]
lrwx------ 1 root root 64 Jan  1 00:00 4 -> socket:[104]
/proc/30/fd:
lrwx------ 1 root root 64 Jan  1 00:00 3 -> socket:[102]
lrwx------ 1 root root 64 Jan  1 00:00 4 -> socket:[104]
/proc/50/fd:
lrwx------ 1 root root 64 Jan  1 00:00 3 -> socket:[103]
names
/proc/1/comm:systemd
/proc/30/comm:sshd
/proc/31/comm:sshd
/proc/40/comm:node: a b
/proc/50/comm:ldm-relay-1a2b3
";

    #[test]
    fn lists_ports_with_addresses_and_processes() {
        let found = read(PRINTED);
        let printed: Vec<String> = found
            .iter()
            .map(|listener| {
                let process = listener.process.as_ref();
                let process = process.map_or("?".to_owned(), |process| {
                    format!("{} {}", process.pid, process.name)
                });
                format!("{} {:?} {process}", listener.port, listener.addresses)
            })
            .collect();
        assert_eq!(
            printed,
            [
                "22 [0.0.0.0, ::] 30 sshd",
                "5173 [::1] 40 node: a b",
                "5174 [127.0.0.1] ?",
                "8080 [127.0.0.1] 40 node: a b",
            ]
        );
    }

    #[test]
    fn skips_invalid_lines() {
        assert_eq!(read(""), []);
        let odd = "tcp\ninvalid\n 0: XX:1 0 0A\n 0: 0100007F:0000 00000000:0000 0A 0 0 0 0 0 1\n\
                   holders\n/proc/x/fd:\n3 -> socket:[1]\nnames\n/proc/1\n";
        assert_eq!(read(odd), []);
    }

    #[test]
    fn json_format_is_stable() {
        let listener = &read(PRINTED)[1];
        assert_eq!(
            serde_json::to_string(listener).unwrap(),
            r#"{"port":5173,"addresses":["::1"],"process":{"pid":40,"name":"node: a b"}}"#
        );
    }
}
