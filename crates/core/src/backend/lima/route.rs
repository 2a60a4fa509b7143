//! The way to a guest's ports: straight where its address answers, else by a channel of an SSH session.
//!
//! A machine of the vz driver has an address on the host's own network (vzNAT), which is much the faster
//! way, and reaches no service on the guest's loopback. macOS may forbid it to a program (EHOSTUNREACH,
//! the Local Network permission); one that wasn't reached once isn't tried again in this boot.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::reach::Reach;
use crate::backend::ssh::{Channels, Door, Session};
use crate::backend::{GuestStream, Route};
use crate::error::Result;
use crate::model::{GuestPort, InstanceName};
use crate::near;

/// How long the straight way may take: the guest is on this machine.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way to one boot of a machine.
pub(super) struct LimaRoute {
    channels: Channels<Reach>,
    address: Option<IpAddr>,
    is_barred: AtomicBool,
}

impl LimaRoute {
    /// The way to what `reach` leads to, whose guest has this address on a network of the host's.
    pub(super) fn new(reach: Reach, address: Option<IpAddr>) -> Self {
        Self {
            channels: Channels::new(reach),
            address,
            is_barred: AtomicBool::new(false),
        }
    }

    /// A connection by the guest's address; `None` where somebody has to ask by SSH.
    async fn straight(&self, port: GuestPort) -> Option<TcpStream> {
        let address = self.address?;
        if self.is_barred.load(Ordering::Relaxed) {
            return None;
        }
        let dialled = near::connect(SocketAddr::new(address, port.get()));
        match timeout(PATIENCE, dialled).await {
            Ok(Ok(stream)) => Some(stream),
            // Nobody listens on that address: perhaps on the guest's loopback.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => None,
            _ => {
                tracing::info!(%address, "the guest isn't reached straight: by SSH from now on");
                self.is_barred.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

#[async_trait]
impl Route for LimaRoute {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        self.channels.door().expect_same_boot()?;
        match self.straight(port).await {
            Some(stream) => Ok(GuestStream::Socket(stream)),
            None => self.channels.dial(port).await,
        }
    }
}

#[async_trait]
impl Door for Reach {
    fn name(&self) -> &InstanceName {
        self.name()
    }

    async fn begin(&self) -> Result<Session> {
        self.begin().await
    }
}
