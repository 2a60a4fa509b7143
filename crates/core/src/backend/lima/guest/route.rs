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

use crate::backend::lima::guest::connection::Reach;
use crate::backend::ssh::{ChannelSource, Channels, Session};
use crate::backend::{GuestStream, Route};
use crate::error::Result;
use crate::local_tcp;
use crate::model::{GuestPort, InstanceName};

/// How long the straight way may take: the guest is on this machine.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The way to one boot of a machine.
pub(crate) struct LimaRoute {
    channels: Channels<Reach>,
    straight: Straight,
}

impl LimaRoute {
    /// The way to what `reach` leads to, whose guest has this address on a network of the host's.
    pub(crate) fn new(reach: Reach, address: Option<IpAddr>) -> Self {
        Self {
            channels: Channels::new(reach),
            straight: Straight::new(address),
        }
    }
}

/// The way by the guest's own address, where it has one.
struct Straight {
    address: Option<IpAddr>,
    /// It wasn't reached once.
    is_barred: AtomicBool,
}

impl Straight {
    fn new(address: Option<IpAddr>) -> Self {
        Self {
            address,
            is_barred: AtomicBool::new(false),
        }
    }

    /// A connection; `None` where somebody has to ask by SSH.
    async fn connect(&self, port: GuestPort) -> Option<TcpStream> {
        let address = self.address?;
        if self.is_barred.load(Ordering::Relaxed) {
            return None;
        }
        let dialled = local_tcp::connect(SocketAddr::new(address, port.get()));
        match timeout(TIMEOUT, dialled).await {
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
        match self.straight.connect(port).await {
            Some(stream) => Ok(GuestStream::Socket(stream)),
            None => self.channels.dial(port).await,
        }
    }
}

#[async_trait]
impl ChannelSource for Reach {
    fn name(&self) -> &InstanceName {
        self.name()
    }

    async fn begin(&self) -> Result<Session> {
        self.begin().await
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    /// Nobody else's where there are many, so that a port which was let go is still free.
    const GUEST: Ipv4Addr = match cfg!(target_os = "linux") {
        true => Ipv4Addr::new(127, 83, 17, 5),
        false => Ipv4Addr::LOCALHOST,
    };

    /// A service; 0 is any port.
    async fn listener(at: u16) -> TcpListener {
        TcpListener::bind((GUEST, at)).await.unwrap()
    }

    fn port(listener: &TcpListener) -> GuestPort {
        let address = listener.local_addr().unwrap();
        address.port().to_string().parse().unwrap()
    }

    #[tokio::test]
    async fn an_address_that_answers_is_gone_to_and_one_that_refuses_is_asked_again() {
        let straight = Straight::new(Some(GUEST.into()));
        let service = listener(0).await;
        let port = port(&service);
        assert!(straight.connect(port).await.is_some());
        drop(service);
        // It may listen on the guest's loopback, which is another address.
        assert!(straight.connect(port).await.is_none());
        let _service = listener(port.get()).await;
        assert!(straight.connect(port).await.is_some());
        assert!(Straight::new(None).connect(port).await.is_none());
    }

    #[tokio::test]
    async fn an_address_that_is_not_reached_is_not_tried_again() {
        // Nobody may connect to it, which is an error at once.
        let straight = Straight::new(Some(Ipv4Addr::BROADCAST.into()));
        let service = listener(0).await;
        assert!(straight.connect(port(&service)).await.is_none());
        assert!(straight.is_barred.load(Ordering::Relaxed));
        let barred = Straight {
            is_barred: AtomicBool::new(true),
            ..Straight::new(Some(GUEST.into()))
        };
        assert!(barred.connect(port(&service)).await.is_none());
    }
}
