//! Backends: what an engine has to be able to do, and the engines that do it.
//!
//! Contract, checked by `tests/contract` against every backend:
//! - An instance is known by its exact name; a missing one is [`ErrorKind::NotFound`], an engine that
//!   doesn't answer is [`ErrorKind::Unreachable`], and the two are never mixed up.
//! - A change is done when its future resolves, and failed when it resolves to an error.
//! - Starting a running or stopping a stopped instance is [`ErrorKind::Conflict`].
//! - Composite work (user set-up, readiness) is written once over [`Backend::exec`], in `provision`.
//!
//! Deliberately absent: projects, files, locks and undo (`engine`), and words of one engine.
//!
//! [`ErrorKind::NotFound`]: crate::ErrorKind::NotFound
//! [`ErrorKind::Unreachable`]: crate::ErrorKind::Unreachable
//! [`ErrorKind::Conflict`]: crate::ErrorKind::Conflict

mod exec;
#[cfg(feature = "fake")]
pub mod fake;
pub mod lxc;
mod types;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::model::{EngineKind, GuestPort, ImageName, InstanceName, SnapshotName};

pub use exec::{ExecControl, ExecIo, ExecSpec, Output, WindowSize, capture, run_script};
pub use types::{
    BackendEvent, Capabilities, Image, Instance, InstanceSnapshot, LaunchSpec, Marks, Nesting,
    Progress, Step,
};

/// A byte stream to a service in a guest.
pub trait GuestStream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> GuestStream for T {}

/// An engine that holds instances.
///
/// Every call but [`Backend::exec`] and [`Backend::events`] ends by itself within a bounded time.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Which kind of engine this is.
    fn kind(&self) -> EngineKind;

    /// Where it answers, for people: a socket's path.
    fn address(&self) -> String;

    /// Whether an engine is there at all, answering or not. One that isn't can hold no instance; of
    /// one that is and doesn't answer, nobody knows what it holds. Looks at files only.
    fn is_installed(&self) -> bool;

    /// What it can do, asked of the engine itself.
    async fn capabilities(&self) -> Result<Capabilities>;

    /// All instances with state and snapshots, in one request.
    async fn instances(&self) -> Result<Vec<Instance>>;

    /// One instance with state and snapshots.
    async fn instance(&self, name: &InstanceName) -> Result<Instance>;

    /// All instances without their snapshots, in as little time as the engine allows. An address may
    /// be the one that the engine has leased to it, whether the guest uses it yet or not.
    async fn glance(&self) -> Result<Vec<Instance>> {
        self.instances().await
    }

    /// One instance without its snapshots and its address.
    async fn glance_at(&self, name: &InstanceName) -> Result<Instance> {
        self.instance(name).await
    }

    /// Looks an image up by the rules of the house: local alias, then built-in name.
    ///
    /// # Errors
    /// `NotFound` naming the images that are there.
    async fn find_image(&self, name: &ImageName) -> Result<Image>;

    /// Makes an instance; it is stopped then. Where it is cancelled, the caller looks whether there is
    /// one.
    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()>;

    /// Starts a stopped instance. Commands can be run in it from then on; its address may come later.
    async fn start(&self, name: &InstanceName) -> Result<()>;

    /// Stops a running instance: asks its init, and where `force` is set kills it.
    ///
    /// # Errors
    /// `Timeout` where its init doesn't end in time.
    async fn stop(&self, name: &InstanceName, force: bool) -> Result<()>;

    /// Deletes a stopped instance with its snapshots.
    async fn delete(&self, name: &InstanceName) -> Result<()>;

    /// Gives a stopped instance another name.
    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()>;

    /// Replaces our marks on an instance.
    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()>;

    /// Takes a snapshot, running or not. The engine itself deletes it at `expires_at`.
    async fn snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
    ) -> Result<()>;

    /// Sets a stopped instance back to one of its snapshots. Our marks stay as they were before.
    async fn restore(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()>;

    /// Deletes a snapshot.
    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()>;

    /// Runs a command as the guest's root and pumps its streams until it ends. Dropping the future
    /// ends the command.
    ///
    /// Returns the exit code; 128 + the signal's number where a signal ended it, 127 where the
    /// command isn't there, 126 where it can't be run.
    ///
    /// # Errors
    /// `Engine` where the instance doesn't run.
    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32>;

    /// Connects to a TCP port of a running instance.
    ///
    /// # Errors
    /// `Conflict` where the instance doesn't run, `Guest` where nobody listens.
    async fn dial(&self, name: &InstanceName, port: GuestPort) -> Result<Box<dyn GuestStream>>;

    /// Waits for what the engine itself still does on an instance: work that a killed caller began.
    async fn settle(&self, name: &InstanceName) -> Result<()>;

    /// What happens in the engine from now on. The stream ends when the connection is lost.
    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>>;

    /// Resolves once the engine may answer again after it was lost: its socket is back, or a
    /// bounded time has passed.
    async fn returned(&self);
}
