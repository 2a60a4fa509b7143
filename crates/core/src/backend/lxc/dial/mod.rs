//! The way to a guest's ports on an engine of this machine: straight to its address.
//!
//! An address is known by instance and boot. After each connection the kernel's table of neighbours
//! says who has answered: an address may have become another guest's while nobody looked.
//! Deliberately absent: ports at a remote, whose networks are none of this machine's.

mod guest;
mod neighbour;

use std::sync::Arc;

use async_trait::async_trait;

use super::client::Client;
use super::transport::Transport;
use crate::backend::{GuestStream, Route};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{GuestPort, InstanceName};

use guest::Guest;

/// The way to one boot of an instance.
struct Local {
    guest: Guest,
}

/// Looks for the way to a running instance.
pub(super) async fn route(client: &Client, name: &InstanceName) -> Result<Arc<dyn Route>> {
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
    let guest = Guest::find(client, name).await?;
    Ok(Arc::new(Local { guest }))
}

#[async_trait]
impl Route for Local {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        match self.guest.connect(port).await? {
            Some(stream) => Ok(GuestStream::Socket(stream)),
            None => {
                let message = format!("nobody listens on port {port} of `{}`", self.guest.name);
                Err(Error::new(ErrorKind::Guest, message))
            }
        }
    }
}
