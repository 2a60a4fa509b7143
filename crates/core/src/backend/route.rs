//! Routes to the ports of an instance.

use crate::backend::SocketForward;
use crate::error::{Error, ErrorKind};
use crate::model::InstanceName;
use async_trait::async_trait;
use std::sync::Arc;

use super::GuestStream;
use crate::error::Result;
use crate::model::GuestPort;

/// A route to the ports of one instance, for its current boot. Dialling is cheap, usually without a request to the
/// engine.
///
/// A route never leads to another instance, even if an address is reused. Callers request a new one when the
/// instance may have changed.
#[async_trait]
pub trait Route: Send + Sync {
    /// Connects to a TCP port on any address of the guest, including 127.0.0.1 and ::1.
    ///
    /// # Errors
    /// - `Guest` if the port is closed. Retries are cheap.
    /// - `Conflict`, `NotFound`, `Unreachable` or `Timeout` if the route is no longer valid: the instance has
    ///   stopped, or its address is gone, foreign or not responding.
    /// - Any other kind if a retry is useless, such as a remote's guest without an SSH server.
    async fn dial(&self, port: GuestPort) -> Result<GuestStream>;
}

/// Access to ports of running instances, and socket forwards into them.
#[async_trait]
pub trait Ports: Send + Sync {
    /// A route to the ports of a running instance. Does not open anything in the guest. Streams outlive the route.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the instance is not running, `Guest` if it has no address yet,
    /// `Unsupported` if its network is unreachable from this host.
    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>>;

    /// Connects to a TCP port of a running instance.
    ///
    /// # Errors
    /// Those of [`Ports::route`] and [`Route::dial`].
    async fn dial(&self, name: &InstanceName, port: GuestPort) -> Result<GuestStream> {
        self.route(name).await?.dial(port).await
    }

    /// Forwards a socket of the host into a running instance.
    ///
    /// # Errors
    /// `Unsupported` if the engine cannot forward sockets.
    async fn forward_socket(&self, name: &InstanceName, forward: &SocketForward) -> Result<()> {
        let _ = forward;
        let message = format!("this engine cannot forward a socket to `{name}`");
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Ends a socket forward. Succeeds if the forward or the instance is missing.
    async fn end_socket_forward(&self, name: &InstanceName, forward: &str) -> Result<()> {
        let _ = (name, forward);
        Ok(())
    }

    /// Ends all socket forwards of an instance.
    async fn end_socket_forwards(&self, name: &InstanceName) -> Result<()> {
        let _ = name;
        Ok(())
    }
}
