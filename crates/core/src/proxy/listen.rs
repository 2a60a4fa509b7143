//! Binding a host port on loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

use crate::error::{Error, ErrorKind, Result};
use crate::model::HostPort;

/// The listeners of one host port.
#[derive(Debug)]
pub struct Listeners {
    pub(super) v4: TcpListener,
    /// `None` where this machine has no IPv6.
    pub(super) v6: Option<TcpListener>,
    port: HostPort,
}

impl Listeners {
    /// The port.
    #[must_use]
    pub fn port(&self) -> HostPort {
        self.port
    }
}

/// Listens on 127.0.0.1 and ::1, on both or on none.
///
/// # Errors
/// `Conflict` where somebody has the port, `PermissionDenied` below 1024 without the right.
pub async fn bind(port: HostPort) -> Result<Listeners> {
    let v4 = listen((Ipv4Addr::LOCALHOST, port.get()).into()).await;
    let v4 = v4.map_err(|error| explain(port, error))?;
    let v6 = match listen((Ipv6Addr::LOCALHOST, port.get()).into()).await {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(explain(port, error)),
        Err(_) => None,
    };
    Ok(Listeners { v4, v6, port })
}

async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn explain(port: HostPort, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::Conflict,
            format!("port {port} of this machine is taken"),
        )
        .with_hint(format!("see who has it: `ss -ltnp 'sport = :{port}'`")),
        io::ErrorKind::PermissionDenied => {
            let message = format!("port {port} is below 1024: only root may listen on it");
            Error::new(ErrorKind::PermissionDenied, message).with_hint(format!(
                "allow it: `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`"
            ))
        }
        _ => Error::io(format!("cannot listen on port {port}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_bound_on_loopback_only_and_once() {
        // The system picks a free port; we give it back and take it ourselves.
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let port = HostPort::new(free).unwrap();
        let listeners = bind(port).await.unwrap();
        assert!(listeners.v4.local_addr().unwrap().ip().is_loopback());
        if let Some(v6) = &listeners.v6 {
            assert!(v6.local_addr().unwrap().ip().is_loopback());
        }
        assert_eq!(bind(port).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
}
