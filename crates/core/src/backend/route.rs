//! The way to the ports of an instance.

use async_trait::async_trait;

use super::GuestStream;
use crate::error::Result;
use crate::model::GuestPort;

/// The way to the ports of one instance in its present boot. Cheap to dial: the engine isn't asked
/// again while all is well.
///
/// It never leads to another instance, whatever has become of the address since. Still, who hears that
/// the instance has changed, or may have missed it, drops the route and asks for a new one.
#[async_trait]
pub trait Route: Send + Sync {
    /// Connects to a TCP port, on whichever of the guest's addresses somebody listens: also on its own
    /// 127.0.0.1 and ::1.
    ///
    /// # Errors
    /// `Guest` where the instance is there and nobody listens: it may be tried again, and costs little.
    ///
    /// `Conflict`, `NotFound`, `Unreachable` and `Timeout` where this route is of no use any more: the
    /// instance was stopped, its address is gone or somebody else's, or nobody answers.
    ///
    /// Any other kind where the port can't be reached as things are, and a retry changes nothing: a
    /// guest without an SSH server at a remote, say.
    async fn dial(&self, port: GuestPort) -> Result<GuestStream>;
}
