//! Binding a host port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::{TcpListener, TcpSocket};

use super::owner::{Listening, Owner};
use crate::error::{Error, ErrorKind};
use crate::local_tcp;
use crate::model::{HostPort, ListenScope};

/// Limit of pending connections.
const MAX_PENDING: u32 = 4096;
/// Ports below need a privilege.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Returns the addresses to bind, and whether each is optional.
fn addresses(reach: ListenScope) -> Vec<(IpAddr, bool)> {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match reach {
        ListenScope::Everywhere => vec![
            (Ipv4Addr::UNSPECIFIED.into(), false),
            (Ipv6Addr::UNSPECIFIED.into(), true),
        ],
        ListenScope::Address(address) if !address.is_loopback() => {
            vec![(v4, false), (v6, true), (address, false)]
        }
        ListenScope::Loopback | ListenScope::Address(_) => vec![(v4, false), (v6, true)],
    }
}

/// Time for a local process to accept.
#[cfg(target_os = "macos")]
const PROBE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(100);

/// The listeners of one host port.
#[derive(Debug)]
pub struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    port: HostPort,
}

/// Returns an existing listener for an address.
pub type ExistingListener<'a> = &'a mut dyn FnMut(SocketAddr) -> Option<std::net::TcpListener>;

impl Listeners {
    /// The host port.
    #[must_use]
    pub fn port(&self) -> HostPort {
        self.port
    }

    /// Duplicates the descriptors for another process.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn duplicate(&self) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.sockets.iter();
        sockets
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .collect()
    }
}

/// A port that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} port {port}")]
pub struct Refused {
    port: HostPort,
    address: IpAddr,
    #[source]
    error: io::Error,
}

/// Binds all addresses, or none.
///
/// # Errors
/// The first address that fails; see [`Refused::explain`].
pub fn bind(port: HostPort, reach: ListenScope) -> Result<Listeners, Refused> {
    bind_with(port, reach, &mut |_| None)
}

/// Like [`bind`], with existing listeners where available.
///
/// # Errors
/// Those of [`bind`].
pub fn bind_with(
    port: HostPort,
    reach: ListenScope,
    existing: ExistingListener<'_>,
) -> Result<Listeners, Refused> {
    let mut sockets = Vec::new();
    for (address, optional) in addresses(reach) {
        let socket_address = SocketAddr::new(address, port.get());
        let listening = match existing(socket_address) {
            Some(listener) => TcpListener::from_std(listener),
            None => listen(socket_address),
        };
        match listening {
            Ok(listener) => sockets.push(listener),
            // A host without IPv6 has no ::1.
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
    /// Whether no process listens on the addresses of a port. Binds nothing, so as not to race with other servers.
    #[must_use]
    pub fn is_free(&self, port: HostPort, reach: ListenScope) -> bool {
        let mut addresses = addresses(reach).into_iter();
        addresses.all(|(address, _)| self.is_address_free(address, port))
    }
}

/// Whether the error only means that the host has no IPv6.
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
    // Allows binding despite connections in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    if address.ip().is_loopback() {
        local_tcp::disable_pacing(&socket);
    }
    socket.bind(address)?;
    socket.listen(MAX_PENDING)
}

/// macOS allows binding a loopback address while another process has the port on all addresses, which would hijack its
/// connections.
#[cfg(target_os = "macos")]
fn refuse_shadowing(address: SocketAddr) -> io::Result<()> {
    match std::net::TcpStream::connect_timeout(&address, PROBE_TIMEOUT) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(_) => Ok(()),
    }
}

impl Refused {
    /// Whether another process uses the port.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }

    /// Explains the failure with a hint: `Conflict` with the owner of the port, which is slow because it scans all
    /// processes; `PermissionDenied` below 1024; `Config` for an address that the host does not have.
    #[must_use]
    pub fn explain(self) -> Error {
        let Self {
            port,
            address,
            error,
        } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => in_use(port, Listening::read().owner(address, port)),
            io::ErrorKind::PermissionDenied if port.get() < FIRST_UNPRIVILEGED_PORT => {
                let message = format!("port {port} needs root: it is below 1024");
                let hint = if cfg!(target_os = "linux") {
                    format!("allow it: `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`")
                } else {
                    "use its own port: see `lxc-dev-manager ports`".to_owned()
                };
                Error::new(ErrorKind::PermissionDenied, message).with_hint(hint)
            }
            io::ErrorKind::AddrNotAvailable => Error::new(
                ErrorKind::Config,
                format!("this host has no address {address}"),
            )
            .with_hint("correct `listen:` in containers.yaml"),
            _ => Error::io(format!("cannot listen on port {port}"), error),
        }
    }
}

/// The error for a port in use by another process.
pub(super) fn in_use(port: HostPort, owner: Option<Owner>) -> Error {
    let (user, hint) = match &owner {
        Some(Owner::Process { name, pid }) => (
            format!(" by `{name}` (pid {pid})"),
            format!(
                "stop it, or remove `{port}` from `ports:`; a free port is forwarded after ten seconds"
            ),
        ),
        Some(Owner::User(uid)) => (
            format!(" by a process of user {uid}"),
            format!("find it: `sudo {}`", list_command(port)),
        ),
        None => (
            String::new(),
            format!("find the process: `sudo {}`", list_command(port)),
        ),
    };
    Error::new(
        ErrorKind::Conflict,
        format!("host port {port} is in use{user}"),
    )
    .with_hint(hint)
}

/// The command that lists listeners on a port.
fn list_command(port: HostPort) -> String {
    if cfg!(target_os = "linux") {
        format!("ss -ltnp 'sport = :{port}'")
    } else {
        format!("lsof -nP -iTCP:{port} -sTCP:LISTEN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn free_port() -> HostPort {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        HostPort::new(listener.local_addr().unwrap().port()).unwrap()
    }

    #[tokio::test]
    async fn binds_loopback_once() {
        let port = free_port().await;
        let listeners = bind(port, ListenScope::default()).unwrap();
        for listener in &listeners.sockets {
            assert!(listener.local_addr().unwrap().ip().is_loopback());
        }
        let refused = bind(port, ListenScope::default()).unwrap_err();
        assert!(refused.is_in_use());
        let error = refused.explain();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        #[cfg(target_os = "linux")]
        {
            let pid = format!("(pid {})", std::process::id());
            assert!(error.to_string().contains(&pid), "{error}");
        }
    }

    #[tokio::test]
    async fn binds_both_families_or_none() {
        let port = free_port().await;
        let Ok(_other) = TcpListener::bind((Ipv6Addr::LOCALHOST, port.get())).await else {
            // Without IPv6 there is only one family.
            assert_eq!(bind(port, ListenScope::default()).unwrap().sockets.len(), 1);
            return;
        };
        assert!(bind(port, ListenScope::default()).is_err());
        assert!(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.get()))
                .await
                .is_ok()
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn port_in_use_on_other_address_is_free() {
        let other = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = HostPort::new(other.local_addr().unwrap().port()).unwrap();
        let listening = Listening::read();
        assert!(listening.is_free(port, ListenScope::Loopback));
        assert!(!listening.is_free(port, ListenScope::Everywhere));
        assert!(bind(port, ListenScope::Loopback).is_ok());
    }

    #[tokio::test]
    async fn rejects_address_of_another_host() {
        let port = free_port().await;
        let remote: ListenScope = "192.0.2.1".parse().unwrap();
        let refused = bind(port, remote).unwrap_err();
        assert_eq!(refused.explain().kind(), ErrorKind::Config);
    }
}
