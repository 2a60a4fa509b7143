//! Binding a host port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::{TcpListener, TcpSocket};

use super::owner::{Listening, Owner};
use crate::error::{Error, ErrorKind};
use crate::local_tcp;
use crate::model::{HostPort, Reach};

/// Connections that may wait to be accepted: as many as come at once.
const BACKLOG: u32 = 4096;
/// Ports below it take a right of their own.
const PRIVILEGED: u16 = 1024;

/// The addresses to bind, and whether this machine may lack each.
fn addresses(reach: Reach) -> Vec<(IpAddr, bool)> {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match reach {
        Reach::Everywhere => vec![
            (Ipv4Addr::UNSPECIFIED.into(), false),
            (Ipv6Addr::UNSPECIFIED.into(), true),
        ],
        Reach::Address(address) if !address.is_loopback() => {
            vec![(v4, false), (v6, true), (address, false)]
        }
        Reach::Loopback | Reach::Address(_) => vec![(v4, false), (v6, true)],
    }
}

/// How long somebody on this machine may take to accept.
#[cfg(target_os = "macos")]
const PROBE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(100);

/// The listeners of one host port.
#[derive(Debug)]
pub struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    port: HostPort,
}

/// Takes a listener that is there already, for an address.
pub type Ready<'a> = &'a mut dyn FnMut(SocketAddr) -> Option<std::net::TcpListener>;

impl Listeners {
    /// The port.
    #[must_use]
    pub fn port(&self) -> HostPort {
        self.port
    }

    /// Their descriptors, for another process.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.sockets.iter();
        sockets
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .collect()
    }
}

/// A port that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} port {port}")]
pub struct Refused {
    port: HostPort,
    address: IpAddr,
    #[source]
    error: io::Error,
}

/// Listens on all addresses, or on none.
///
/// # Errors
/// The first address that can't be had: [`Refused::explain`] says why.
pub fn bind(port: HostPort, reach: Reach) -> Result<Listeners, Refused> {
    bind_with(port, reach, &mut |_| None)
}

/// The same, with listeners that are there already where there are some.
///
/// # Errors
/// Those of [`bind`].
pub fn bind_with(port: HostPort, reach: Reach, ready: Ready<'_>) -> Result<Listeners, Refused> {
    let mut sockets = Vec::new();
    for (address, optional) in addresses(reach) {
        let place = SocketAddr::new(address, port.get());
        let listening = match ready(place) {
            Some(listener) => TcpListener::from_std(listener),
            None => listen(place),
        };
        match listening {
            Ok(listener) => sockets.push(listener),
            // A machine without IPv6 has no ::1.
            Err(error) if optional && is_no_ipv6(&error) => {}
            Err(error) => {
                return Err(Refused {
                    port,
                    address,
                    error,
                });
            }
        }
    }
    Ok(Listeners { sockets, port })
}

impl Listening {
    /// Whether nobody else listens where this port would be. Takes nothing, so that whoever is about to gets it.
    #[must_use]
    pub fn is_free(&self, port: HostPort, reach: Reach) -> bool {
        let mut addresses = addresses(reach).into_iter();
        addresses.all(|(address, _)| self.lets(address, port))
    }
}

/// Whether it only says that this machine has no IPv6.
fn is_no_ipv6(error: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    #[cfg(target_os = "macos")]
    refuse_shadowing(address)?;
    // Connections of before that linger don't count.
    socket.set_reuseaddr(true)?;
    if address.ip().is_loopback() {
        local_tcp::disable_pacing(&socket);
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A Mac lets a loopback address be bound while a stranger has the port on all addresses, and would take its
/// connections away.
#[cfg(target_os = "macos")]
fn refuse_shadowing(address: SocketAddr) -> io::Result<()> {
    match std::net::TcpStream::connect_timeout(&address, PROBE_TIMEOUT) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => Ok(()),
    }
}

impl Refused {
    /// Whether somebody else has the port.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }

    /// Why, and what can be done about it. Looks at all processes where somebody has the port, which may take a
    /// while: `Conflict` then, naming who; `PermissionDenied` below 1024 without the right; `Config` for an address
    /// that this machine doesn't have.
    #[must_use]
    pub fn explain(self) -> Error {
        let Self {
            port,
            address,
            error,
        } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => taken(port, Listening::read().owner(address, port)),
            io::ErrorKind::PermissionDenied if port.get() < PRIVILEGED => {
                let message = format!("port {port} is below 1024: only root may listen on it");
                let hint = match cfg!(target_os = "linux") {
                    true => {
                        format!(
                            "allow it: `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`"
                        )
                    }
                    false => {
                        "reach it by its own port, which `lxc-dev-manager ports` shows".to_owned()
                    }
                };
                Error::new(ErrorKind::PermissionDenied, message).with_hint(hint)
            }
            io::ErrorKind::AddrNotAvailable => Error::new(
                ErrorKind::Config,
                format!("this machine doesn't have the address {address} to listen on"),
            )
            .with_hint("correct `listen:` in containers.yaml"),
            _ => Error::io(format!("cannot listen on port {port}"), error),
        }
    }
}

/// The error for a port that somebody else has.
pub(super) fn taken(port: HostPort, owner: Option<Owner>) -> Error {
    let (who, hint) = match &owner {
        Some(Owner::Process { name, pid }) => (
            format!(" by `{name}` (pid {pid})"),
            format!(
                "end it, or take `{port}` out of `ports:`; it is forwarded once it has been free for ten seconds"
            ),
        ),
        Some(Owner::User(uid)) => (
            format!(" by a process of user {uid}"),
            format!("see who it is: `sudo {}`", list_of(port)),
        ),
        None => (
            String::new(),
            format!("see who has it: `sudo {}`", list_of(port)),
        ),
    };
    Error::new(
        ErrorKind::Conflict,
        format!("port {port} of this machine is taken{who}"),
    )
    .with_hint(hint)
}

/// The command that lists who listens on a port.
fn list_of(port: HostPort) -> String {
    match cfg!(target_os = "linux") {
        true => format!("ss -ltnp 'sport = :{port}'"),
        false => format!("lsof -nP -iTCP:{port} -sTCP:LISTEN"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn free_port() -> HostPort {
        // The system picks one; we give it back.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        HostPort::new(listener.local_addr().unwrap().port()).unwrap()
    }

    #[tokio::test]
    async fn a_port_is_bound_on_loopback_only_and_once() {
        let port = free_port().await;
        let listeners = bind(port, Reach::default()).unwrap();
        for listener in &listeners.sockets {
            assert!(listener.local_addr().unwrap().ip().is_loopback());
        }
        let refused = bind(port, Reach::default()).unwrap_err();
        assert!(refused.is_taken());
        let error = refused.explain();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        #[cfg(target_os = "linux")]
        {
            let pid = format!("(pid {})", std::process::id());
            assert!(error.to_string().contains(&pid), "{error}");
        }
    }

    #[tokio::test]
    async fn both_families_or_neither() {
        let port = free_port().await;
        let Ok(_stranger) = TcpListener::bind((Ipv6Addr::LOCALHOST, port.get())).await else {
            // This machine has no IPv6: there is only one family.
            assert_eq!(bind(port, Reach::default()).unwrap().sockets.len(), 1);
            return;
        };
        assert!(bind(port, Reach::default()).is_err());
        assert!(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.get()))
                .await
                .is_ok()
        );
    }

    /// What others do with a port elsewhere is none of our business.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_port_is_free_where_it_is_taken_at_other_addresses_alone() {
        let stranger = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = HostPort::new(stranger.local_addr().unwrap().port()).unwrap();
        let listening = Listening::read();
        assert!(listening.is_free(port, Reach::Loopback));
        assert!(!listening.is_free(port, Reach::Everywhere));
        assert!(bind(port, Reach::Loopback).is_ok());
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_said() {
        let port = free_port().await;
        let elsewhere: Reach = "192.0.2.1".parse().unwrap();
        let refused = bind(port, elsewhere).unwrap_err();
        assert_eq!(refused.explain().kind(), ErrorKind::Config);
    }
}
