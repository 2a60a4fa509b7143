//! The ways to a guest's ports on an engine of this machine: straight to its address, and by a relay of
//! ours in the guest to what listens on its own loopback.
//!
//! An address is known by instance and boot. After each straight connection the kernel's table of
//! neighbours says who has answered, and a relay shows a key: an address may have become another guest's
//! while nobody looked.
//! Deliberately absent: ports at a remote, whose networks are none of this machine's.

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

/// Pause between two tries to connect straight while a relay is being started.
const AGAIN: Duration = Duration::from_millis(20);

/// The way to one boot of an instance.
struct Local {
    guest: Arc<Guest>,
    relay: Arc<Relay>,
    /// Ports to which the relay was the way last; the others are tried straight first.
    inside: Mutex<HashSet<GuestPort>>,
}

/// Looks for the way to a running instance.
pub(super) async fn route(
    client: &Client,
    relays: &Relays,
    name: &InstanceName,
) -> Result<Arc<dyn Route>> {
    if let Transport::Remote(remote) = &client.transport {
        // Its address belongs to a network of that machine, and may be another's here.
        let message = format!(
            "the network of `{name}` can't be reached from here: it is on the remote `{}`",
            remote.name
        );
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint(
            "run what needs the port in the env: `lxc-dev-manager exec NAME -- COMMAND`",
        ));
    }
    let guest = Arc::new(Guest::find(client, name).await?);
    Ok(Arc::new(Local {
        relay: relays.of(&guest),
        guest,
        inside: Mutex::default(),
    }))
}

#[async_trait]
impl Route for Local {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        if self.inside().contains(&port) {
            // It may have ended meanwhile, or the service may listen elsewhere now.
            if let Ok(Some(stream)) = self.relay.dial(port).await {
                return Ok(GuestStream::Socket(stream));
            }
            self.inside().remove(&port);
        }
        if let Some(stream) = self.guest.connect(port).await? {
            return Ok(GuestStream::Socket(stream));
        }
        let at_once = self.relay.is_open();
        let answered = match at_once {
            true => self.relay.dial(port).await?,
            false => self.while_it_starts(port).await?,
        };
        match answered {
            Some(stream) => {
                if at_once {
                    self.inside().insert(port);
                }
                Ok(GuestStream::Socket(stream))
            }
            None => {
                let message = format!("nobody listens on port {port} of `{}`", self.guest.name);
                Err(Error::new(ErrorKind::Guest, message))
            }
        }
    }
}

impl Local {
    /// Asks a relay that has to be started first, which takes longer than a client should wait for a service
    /// that begins to listen on all addresses in the meantime.
    async fn while_it_starts(&self, port: GuestPort) -> Result<Option<TcpStream>> {
        let answered = self.relay.dial(port);
        tokio::pin!(answered);
        loop {
            if let Ok(answered) = timeout(AGAIN, &mut answered).await {
                return answered;
            }
            if let Some(stream) = self.guest.connect(port).await? {
                return Ok(Some(stream));
            }
        }
    }

    fn inside(&self) -> MutexGuard<'_, HashSet<GuestPort>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
