//! Routes to a guest's ports on an engine of this machine: directly to its address, or by our relay
//! in the guest to its loopback.
//!
//! An address may move to another guest. So a route is bound to instance and boot, a direct
//! connection is checked in the kernel's neighbour table, and a relay proves its key.
//! Deliberately absent: ports at a remote, whose networks this machine does not reach.

mod guest;
mod neighbour;
mod relay;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::Client;
use super::transport::Transport;
use crate::backend::{GuestStream, Route};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{GuestPort, InstanceName};

use guest::Guest;
use relay::Relay;
pub(super) use relay::Relays;

/// Interval of direct attempts while a relay starts.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The route to one boot of an instance.
struct LocalRoute {
    guest: Arc<Guest>,
    relay: Arc<Relay>,
    /// Ports reached by the relay last; others are tried directly first.
    relay_ports: Mutex<HashSet<GuestPort>>,
}

/// Returns the route to a running instance.
pub(super) async fn route(
    client: &Client,
    relays: &Relays,
    name: &InstanceName,
) -> Result<Arc<dyn Route>> {
    if let Transport::Remote(remote) = &client.transport {
        // The address belongs to the remote's network; here it may be another host's.
        let message = format!(
            "the network of `{name}` is not reachable: it is on remote `{}`",
            remote.name
        );
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("run the client in the env: `lxc-dev-manager exec NAME -- COMMAND`"));
    }
    let guest = Arc::new(Guest::find(client, name).await?);
    Ok(Arc::new(LocalRoute {
        relay: relays.get(&guest),
        guest,
        relay_ports: Mutex::default(),
    }))
}

#[async_trait]
impl Route for LocalRoute {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        if self.relay_ports().contains(&port) {
            // The relay may have ended, or the service may listen on another address now.
            if let Ok(Some(stream)) = self.relay.dial(port).await {
                return Ok(GuestStream::Socket(stream));
            }
            self.relay_ports().remove(&port);
        }
        if let Some(stream) = self.guest.connect(port).await? {
            return Ok(GuestStream::Socket(stream));
        }
        let was_open = self.relay.is_open();
        let stream = if was_open {
            self.relay.dial(port).await?
        } else {
            self.dial_starting_relay(port).await?
        };
        match stream {
            Some(stream) => {
                if was_open {
                    self.relay_ports().insert(port);
                }
                Ok(GuestStream::Socket(stream))
            }
            None => {
                let message = format!("port {port} of `{}` is closed", self.guest.name);
                Err(Error::new(ErrorKind::Guest, message))
            }
        }
    }
}

impl LocalRoute {
    /// Dials while a relay starts. Also retries directly, as the service may begin to listen on all
    /// addresses in the meantime.
    async fn dial_starting_relay(&self, port: GuestPort) -> Result<Option<TcpStream>> {
        let dialled = self.relay.dial(port);
        tokio::pin!(dialled);
        loop {
            if let Ok(result) = timeout(RETRY_INTERVAL, &mut dialled).await {
                return result;
            }
            if let Some(stream) = self.guest.connect(port).await? {
                return Ok(Some(stream));
            }
        }
    }

    fn relay_ports(&self) -> MutexGuard<'_, HashSet<GuestPort>> {
        self.relay_ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
