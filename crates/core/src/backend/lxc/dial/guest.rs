//! The instance of a route, in one boot.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::neighbour;
use crate::backend::lxc::client::Client;
use crate::backend::lxc::wire;
use crate::error::{Error, ErrorKind, Result};
use crate::local_tcp;
use crate::model::{EnvStatus, GuestPort, InstanceName};

/// After this time without a connection, the engine is asked for the cause.
const SLOW_CONNECT: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running instance and its address.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) client: Client,
    pub(super) name: InstanceName,
    pub(super) address: IpAddr,
    /// The kernel's name.
    pub(super) architecture: String,
    hardware_addresses: BTreeSet<String>,
    started_at: Option<Timestamp>,
}

impl Guest {
    /// Looks up a running instance.
    pub(super) async fn find(client: &Client, name: &InstanceName) -> Result<Self> {
        let raw = fetch(client, name, "?recursion=1").await?;
        let (architecture, hardware_addresses) =
            (raw.architecture().to_owned(), raw.hardware_addresses());
        let instance = raw.into_instance()?;
        if instance.status != EnvStatus::Running {
            return Err(state_error(name, "is not running"));
        }
        let address = instance
            .address
            .ok_or_else(|| Error::new(ErrorKind::Guest, format!("`{name}` has no address yet")))?;
        Ok(Self {
            client: client.clone(),
            name: name.clone(),
            address,
            architecture,
            hardware_addresses,
            started_at: instance.started_at,
        })
    }

    /// Whether both are the same boot of the same instance, at the same address.
    pub(super) fn is_same_boot(&self, other: &Self) -> bool {
        (&self.name, self.address, self.started_at)
            == (&other.name, other.address, other.started_at)
    }

    /// Fails if the engine no longer runs this boot.
    pub(super) async fn ensure_running(&self) -> Result<()> {
        let instance = fetch(&self.client, &self.name, "").await?.into_instance()?;
        match instance.status {
            EnvStatus::Running if instance.started_at == self.started_at => Ok(()),
            EnvStatus::Running => Err(state_error(&self.name, "was restarted")),
            _ => Err(state_error(&self.name, "is no longer running")),
        }
    }

    /// Connects to a port of the address; `None` if refused.
    ///
    /// # Errors
    /// Any error ends the route.
    pub(super) async fn connect(&self, port: GuestPort) -> Result<Option<TcpStream>> {
        if is_own_address(self.address) {
            let message = format!(
                "`{}` claims {}, an address of this machine",
                self.name, self.address
            );
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("remove the address in the env, then restart it"));
        }
        let attempt = local_tcp::connect(SocketAddr::new(self.address, port.get()));
        tokio::pin!(attempt);
        let connected = match timeout(SLOW_CONNECT, &mut attempt).await {
            Ok(connected) => connected,
            Err(_) => {
                self.ensure_running().await?;
                let result = timeout(CONNECT_TIMEOUT, attempt).await;
                result.map_err(|_| self.no_response(ErrorKind::Timeout))?
            }
        };
        match connected {
            Ok(stream) if neighbour::is_foreign(self.address, &self.hardware_addresses) => {
                drop(stream);
                let message = format!("{} no longer belongs to `{}`", self.address, self.name);
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Ok(stream) => Ok(Some(stream)),
            Err(error) => self.classify(error).await,
        }
    }

    async fn classify<T>(&self, error: io::Error) -> Result<Option<T>> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(None),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut => {
                self.ensure_running().await?;
                Err(self.no_response(ErrorKind::Unreachable).caused_by(error))
            }
            // A local cause: no descriptors or ports left, a firewall.
            _ => {
                let message = format!("cannot connect to {} of `{}`", self.address, self.name);
                Err(Error::io(message, error))
            }
        }
    }

    fn no_response(&self, kind: ErrorKind) -> Error {
        let message = format!("`{}` is not responding at {}", self.name, self.address);
        Error::new(kind, message).with_hint("find the cause: `lxc-dev-manager doctor`")
    }
}

/// Whether an address is one of this machine: only those can be bound, unless the system allows all.
fn is_own_address(address: IpAddr) -> bool {
    let can_bind = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    // Never a machine's own (RFC 5737, RFC 3849).
    let documentation = if address.is_ipv4() {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))
    } else {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))
    };
    can_bind(address) && !can_bind(documentation)
}

async fn fetch(client: &Client, name: &InstanceName, query: &str) -> Result<wire::Instance> {
    let path = format!("/1.0/instances/{name}{query}");
    let found = client.get(&path).await;
    found.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("{} has no instance `{name}`", client.kind());
            Error::new(ErrorKind::NotFound, message)
        }
        _ => error,
    })
}

fn state_error(name: &InstanceName, state: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("`{name}` {state}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_its_own() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("198.51.100.7", false),
            ("2001:db8::7", false),
        ] {
            assert_eq!(
                is_own_address(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }
}
