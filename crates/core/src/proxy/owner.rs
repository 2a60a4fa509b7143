//! Which process listens on a port of this machine. Slow: call it on a thread of its own.

use std::net::{IpAddr, SocketAddr};

use listeners::{Listener, Protocol, SocketState};

use crate::model::HostPort;

/// The owner of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    Process {
        name: String,
        pid: u32,
    },
    /// The user id, where the process is another user's.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "macOS does not tell")
    )]
    User(u32),
}

/// The listening sockets of this machine at one moment.
#[derive(Debug, Default)]
pub struct Listening {
    #[cfg(target_os = "linux")]
    sockets: Vec<(SocketAddr, u32)>,
}

impl Listening {
    /// The process that occupies an address, or its user where the process cannot be inspected.
    pub(super) fn owner(&self, address: IpAddr, port: HostPort) -> Option<Owner> {
        // The crate also returns accepted connections: they occupy nothing.
        let listeners = listeners::get_all().unwrap_or_default().into_iter();
        let of_port: Vec<_> = listeners
            .filter(|one| one.protocol == Protocol::TCP && one.state == SocketState::Listen)
            .filter(|one| one.socket.port() == port.get())
            .collect();
        self.choose(&of_port, address, port)
    }
}

fn process(listener: &Listener) -> Owner {
    Owner::Process {
        name: listener.process.name.clone(),
        pid: listener.process.pid,
    }
}

/// Whether a listener at one address occupies another address of the same port. One at all IPv6
/// addresses may occupy IPv4 too: the system does not tell.
fn occupies(listener: IpAddr, wanted: IpAddr) -> bool {
    let (listener, wanted) = (listener.to_canonical(), wanted.to_canonical());
    if listener.is_ipv4() == wanted.is_ipv4() {
        listener == wanted || listener.is_unspecified() || wanted.is_unspecified()
    } else {
        listener.is_ipv6() && listener.is_unspecified()
    }
}

/// The listener at this very address, else one that occupies it with others.
fn nearest<T>(listeners: &[T], address: impl Fn(&T) -> IpAddr, wanted: IpAddr) -> Option<&T> {
    let exact = |one: &&T| address(one).to_canonical() == wanted;
    let occupying = |one: &&T| occupies(address(one), wanted);
    let mut all = listeners.iter();
    all.clone().find(exact).or_else(|| all.find(occupying))
}

#[cfg(target_os = "linux")]
impl Listening {
    /// Reads the kernel's tables. Empty where they cannot be read.
    #[must_use]
    pub fn read() -> Self {
        use procfs::net::{TcpState, tcp, tcp6};
        let tables = [tcp(), tcp6()].into_iter().flatten().flatten();
        let listening = tables.filter(|entry| entry.state == TcpState::Listen);
        Self {
            sockets: listening
                .map(|entry| (entry.local_address, entry.uid))
                .collect(),
        }
    }

    /// Whether an address is free.
    pub(super) fn is_address_free(&self, address: IpAddr, port: HostPort) -> bool {
        self.at(address, port).is_none()
    }

    /// The kernel's tables name every socket, `listeners` only those of processes that may be inspected.
    fn choose(&self, listeners: &[Listener], address: IpAddr, port: HostPort) -> Option<Owner> {
        let (socket, user) = self.at(address, port)?;
        let found = listeners.iter().find(|one| one.socket == socket);
        Some(found.map_or(Owner::User(user), process))
    }

    fn at(&self, address: IpAddr, port: HostPort) -> Option<(SocketAddr, u32)> {
        let sockets = self.sockets.iter();
        let of_port: Vec<_> = sockets
            .filter(|(address, _)| address.port() == port.get())
            .copied()
            .collect();
        nearest(&of_port, |(address, _)| address.ip(), address).copied()
    }
}

#[cfg(not(target_os = "linux"))]
impl Listening {
    /// Reads nothing: each address is tried when it is asked for.
    #[must_use]
    pub fn read() -> Self {
        Self::default()
    }

    /// Whether an address is free.
    pub(super) fn is_address_free(&self, address: IpAddr, port: HostPort) -> bool {
        use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
        /// A listener on this machine accepts within this.
        const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(100);
        let host = match address {
            IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        TcpStream::connect_timeout(&SocketAddr::new(host, port.get()), CONNECT_TIMEOUT).is_err()
    }

    fn choose(&self, listeners: &[Listener], address: IpAddr, _: HostPort) -> Option<Owner> {
        nearest(listeners, |one| one.socket.ip(), address).map(process)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn listener_occupies_its_address_or_all_addresses() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::1", false),
            ("::1", "127.0.0.1", false),
            ("127.0.0.2", "127.0.0.1", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "::1", false),
            ("127.0.0.1", "0.0.0.0", true),
            ("::", "::1", true),
            ("::", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
        ];
        for (listener, wanted, expected) in cases {
            let found = occupies(listener.parse().unwrap(), wanted.parse().unwrap());
            assert_eq!(found, expected, "{listener} and {wanted}");
        }
    }

    #[test]
    fn owner_is_found_by_address() {
        let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let port = HostPort::new(listener.local_addr().unwrap().port()).unwrap();
        let listening = Listening::read();
        let own = std::process::id();
        let owner = |address: &str| listening.owner(address.parse().unwrap(), port);
        assert_eq!(owner("127.0.0.1"), None);
        assert_eq!(owner("::1"), None);
        for address in ["127.0.0.2", "0.0.0.0"] {
            let found = owner(address);
            let is_own = matches!(found, Some(Owner::Process { pid, .. }) if pid == own);
            assert!(is_own, "{address}: {found:?}");
        }
    }

    #[test]
    fn accepted_connection_is_no_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let _accepted = listener.accept().unwrap();
        drop(listener);
        let port = HostPort::new(address.port()).unwrap();
        let listening = Listening::read();
        assert_eq!(listening.owner(address.ip(), port), None);
        // The same number at another address: that process isn't the owner of this one.
        let other = std::net::TcpListener::bind(("127.0.0.3", port.get())).unwrap();
        let listening = Listening::read();
        assert_eq!(listening.owner(address.ip(), port), None);
        assert!(
            listening
                .owner(other.local_addr().unwrap().ip(), port)
                .is_some()
        );
    }
}
