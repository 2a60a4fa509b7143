//! The instance that a route leads to, in one boot of it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
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

/// How long a connection within this machine may take until the engine is asked what is the matter.
const USUAL: Duration = Duration::from_millis(200);
/// How long it may take at all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An instance, and where it answers.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) client: Client,
    pub(super) name: InstanceName,
    pub(super) address: IpAddr,
    /// As the kernel calls it.
    pub(super) architecture: String,
    hardware: BTreeSet<String>,
    started_at: Option<Timestamp>,
}

impl Guest {
    /// Asks the engine where a running instance is.
    pub(super) async fn find(client: &Client, name: &InstanceName) -> Result<Self> {
        let raw = ask(client, name, "?recursion=1").await?;
        let (architecture, hardware) = (raw.architecture().to_owned(), raw.hardware_addresses());
        let instance = raw.into_instance()?;
        if instance.status != EnvStatus::Running {
            return Err(gone(name, "doesn't run"));
        }
        let address = instance
            .address
            .ok_or_else(|| Error::new(ErrorKind::Guest, format!("`{name}` has no address yet")))?;
        Ok(Self {
            client: client.clone(),
            name: name.clone(),
            address,
            architecture,
            hardware,
            started_at: instance.started_at,
        })
    }

    /// Whether both are the same boot of the same instance, at the same place.
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.name, self.address, self.started_at)
            == (&other.name, other.address, other.started_at)
    }

    /// Asks the engine whether this boot is still there.
    pub(super) async fn expect_present(&self) -> Result<()> {
        let now = ask(&self.client, &self.name, "").await?.into_instance()?;
        match now.status {
            EnvStatus::Running if now.started_at == self.started_at => Ok(()),
            EnvStatus::Running => Err(gone(&self.name, "was started anew")),
            _ => Err(gone(&self.name, "doesn't run any more")),
        }
    }

    /// Connects to a port at its address; `None` where that is refused.
    ///
    /// # Errors
    /// Those that end a route.
    pub(super) async fn connect(&self, port: GuestPort) -> Result<Option<TcpStream>> {
        let attempt = local_tcp::connect(SocketAddr::new(self.address, port.get()));
        tokio::pin!(attempt);
        let connected = match timeout(USUAL, &mut attempt).await {
            Ok(connected) => connected,
            Err(_) => {
                self.expect_present().await?;
                let rest = timeout(TIMEOUT, attempt).await;
                rest.map_err(|_| self.silent(ErrorKind::Timeout))?
            }
        };
        match connected {
            Ok(stream) if neighbour::is_stranger(self.address, &self.hardware) => {
                drop(stream);
                let message = format!("{} doesn't belong to `{}` now", self.address, self.name);
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Ok(stream) => Ok(Some(stream)),
            Err(error) => self.explain(error).await,
        }
    }

    async fn explain<T>(&self, error: io::Error) -> Result<Option<T>> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(None),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut => {
                self.expect_present().await?;
                Err(self.silent(ErrorKind::Unreachable).caused_by(error))
            }
            // No descriptors or no ports left, a firewall of this machine's.
            _ => {
                let message = format!("cannot connect to {} of `{}`", self.address, self.name);
                Err(Error::io(message, error))
            }
        }
    }

    fn silent(&self, kind: ErrorKind) -> Error {
        let message = format!("`{}` gives no answer at {}", self.name, self.address);
        Error::new(kind, message).with_hint("see what is the matter: `lxc-dev-manager doctor`")
    }
}

async fn ask(client: &Client, name: &InstanceName, query: &str) -> Result<wire::Instance> {
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

fn gone(name: &InstanceName, how: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("`{name}` {how}"))
}
