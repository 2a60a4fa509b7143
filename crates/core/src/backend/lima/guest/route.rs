//! Route to a guest's ports: direct if its address is reachable, otherwise a channel of an SSH session.
//!
//! A vz machine has an address on a network of the host (vzNAT). It is much faster, but reaches no service on the
//! guest's loopback. macOS may deny it to a program (EHOSTUNREACH, the Local Network permission); after the first
//! failure it isn't tried again in this boot.

use crate::backend::Instances;
use crate::backend::Ports;
use crate::backend::lima::backend::Lima;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::SshTarget;
use crate::backend::ssh::{ChannelSource, Channels, Session};
use crate::backend::{GuestStream, Route};
use crate::error::Result;
use crate::local_tcp;
use crate::model::{GuestPort, InstanceName};

/// Short, since the guest is on this host.
const DIRECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Route to one boot of a machine.
pub(crate) struct LimaRoute {
    channels: Channels<SshTarget>,
    direct: DirectRoute,
}

impl LimaRoute {
    /// Creates the route; `address` is the guest's address on a network of the host.
    pub(crate) fn new(target: SshTarget, address: Option<IpAddr>) -> Self {
        Self {
            channels: Channels::new(target),
            direct: DirectRoute::new(address),
        }
    }
}

/// Connections to the guest's own address.
struct DirectRoute {
    address: Option<IpAddr>,
    /// A connection has failed in this boot.
    is_unreachable: AtomicBool,
}

impl DirectRoute {
    fn new(address: Option<IpAddr>) -> Self {
        Self {
            address,
            is_unreachable: AtomicBool::new(false),
        }
    }

    /// Connects; `None` if SSH has to be used.
    async fn connect(&self, port: GuestPort) -> Option<TcpStream> {
        let address = self.address?;
        if self.is_unreachable.load(Ordering::Relaxed) {
            return None;
        }
        let dialled = local_tcp::connect(SocketAddr::new(address, port.get()));
        match timeout(DIRECT_TIMEOUT, dialled).await {
            Ok(Ok(stream)) => Some(stream),
            // The service may listen on the guest's loopback only.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => None,
            _ => {
                tracing::info!(%address, "the guest is unreachable at its address; using SSH");
                self.is_unreachable.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

#[async_trait]
impl Route for LimaRoute {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        self.channels.source().ensure_same_boot()?;
        match self.direct.connect(port).await {
            Some(stream) => Ok(GuestStream::Socket(stream)),
            None => self.channels.dial(port).await,
        }
    }
}

#[async_trait]
impl ChannelSource for SshTarget {
    fn name(&self) -> &InstanceName {
        self.name()
    }

    async fn open_session(&self) -> Result<Session> {
        self.connect().await
    }
}

#[async_trait]
impl Ports for Lima {
    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>> {
        let target = SshTarget::of_running(self.limactl.home(), name)?;
        let address = self.brief(name).await?.address;
        Ok(Arc::new(LimaRoute::new(target, address)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    /// A loopback address of its own where possible, so that a released port stays free.
    const GUEST: Ipv4Addr = if cfg!(target_os = "linux") {
        Ipv4Addr::new(127, 83, 17, 5)
    } else {
        Ipv4Addr::LOCALHOST
    };

    /// Listens; port 0 is any port.
    async fn listener(at: u16) -> TcpListener {
        TcpListener::bind((GUEST, at)).await.unwrap()
    }

    fn port(listener: &TcpListener) -> GuestPort {
        let address = listener.local_addr().unwrap();
        address.port().to_string().parse().unwrap()
    }

    #[tokio::test]
    async fn refused_connections_are_retried_directly() {
        let direct = DirectRoute::new(Some(GUEST.into()));
        let service = listener(0).await;
        let port = port(&service);
        assert!(direct.connect(port).await.is_some());
        drop(service);
        // A process that another test forks holds the listener until its exec.
        for _ in 0..100 {
            if direct.connect(port).await.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Refused: it may listen on the guest's loopback.
        assert!(direct.connect(port).await.is_none());
        let _service = listener(port.get()).await;
        assert!(direct.connect(port).await.is_some());
        assert!(DirectRoute::new(None).connect(port).await.is_none());
    }

    #[tokio::test]
    async fn unreachable_address_is_not_retried() {
        // Connecting to broadcast fails at once.
        let direct = DirectRoute::new(Some(Ipv4Addr::BROADCAST.into()));
        let service = listener(0).await;
        assert!(direct.connect(port(&service)).await.is_none());
        assert!(direct.is_unreachable.load(Ordering::Relaxed));
        let unreachable = DirectRoute {
            is_unreachable: AtomicBool::new(true),
            ..DirectRoute::new(Some(GUEST.into()))
        };
        assert!(unreachable.connect(port(&service)).await.is_none());
    }
}
