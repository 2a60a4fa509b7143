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
mod file;
mod finding;
mod image;
pub mod lima;
mod listener;
pub mod lxc;
mod route;
pub mod ssh;
mod stream;
mod types;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    EngineId, EngineKind, Fingerprint, GuestPort, ImageName, InstanceName, RemoteName, SnapshotName,
};

pub use exec::{
    ExecControl, ExecIo, ExecSpec, Output, WindowSize, capture, receive_script, run_script,
    send_script,
};
pub use file::{Content, GuestFile, Ownership};
pub use finding::{Finding, Level};
pub use image::{Image, RemoteImage, Secret, StoredImage};
pub use listener::{LIST_LISTENERS, Listener, Process, listeners};
pub use route::Route;
pub use stream::{Channel, GuestStream};
pub use types::{
    BackendEvent, Capabilities, CopySpec, Instance, InstanceSnapshot, LaunchSpec, Leftover, Marks,
    Mount, Nesting, Progress, Settings, SocketForward, Space, Step, Usage,
};

/// What to do where a storage pool is full.
pub(crate) const FULL_HINT: &str = "the storage pool is full: free what undo keeps with \
     `lxc-dev-manager gc --all`, delete something in an env, or make the pool larger";

/// Whether words of an engine or a guest mean that there is no room. They have no other way to say so.
pub(crate) fn is_full(words: &str) -> bool {
    let words = words.to_lowercase();
    ["no space left on device", "disk quota exceeded"]
        .iter()
        .any(|known| words.contains(known))
}

/// Engines beyond those that are asked where nothing says which.
pub trait Remotes: Send + Sync {
    /// The engine that the user calls by this name. Nothing is asked of it yet.
    ///
    /// # Errors
    /// `NotFound` naming those that there are; `Config` and `Unsupported` for one that can't be used.
    fn named(&self, name: &RemoteName) -> Result<Arc<dyn Backend>>;

    /// The engine of an old record, if the user still has a name for it.
    fn at(&self, id: &EngineId) -> Option<Arc<dyn Backend>>;
}

/// An engine that holds instances.
///
/// Every call but [`Backend::exec`] and [`Backend::events`] ends by itself within a bounded time.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Which engine this is.
    fn id(&self) -> &EngineId;

    /// Which kind of engine this is.
    fn kind(&self) -> EngineKind {
        self.id().kind
    }

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
    async fn list_brief(&self) -> Result<Vec<Instance>> {
        self.instances().await
    }

    /// One instance without its snapshots and its address.
    async fn brief(&self, name: &InstanceName) -> Result<Instance> {
        self.instance(name).await
    }

    /// What an instance uses now.
    async fn usage(&self, name: &InstanceName) -> Result<Usage>;

    /// The storage pool in which new instances are made; `None` where the engine doesn't tell.
    async fn pool_space(&self) -> Result<Option<Space>>;

    /// Bytes that would be free again without one of an instance's snapshots, or without the instance
    /// and all of these; `None` where the engine doesn't tell. On btrfs the engines ask for quotas,
    /// which may lag behind.
    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>>;

    /// Looks an image up by the rules of the house: an alias of the engine's own, then one of a server
    /// that the user has a name for, then a built-in name.
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

    /// Makes a copy of an instance or of one of its snapshots, without its other snapshots; it is stopped
    /// then, with a network address of its own. Everything else is as in the source: who it is inside is
    /// the caller's to change. Where it is cancelled, the caller looks whether there is one.
    ///
    /// # Errors
    /// `Conflict` for a running source that can't be copied as it is
    /// ([`Capabilities::copies_running`]).
    async fn copy(
        &self,
        spec: &CopySpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()>;

    /// Sets what stands in the file, and unsets what doesn't; the rest stays. Limits and mounts of a
    /// running instance change at once.
    ///
    /// # Errors
    /// `Engine` for what it can't do (a disk that would be smaller than what is on it, say).
    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()>;

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
        progress: &Progress,
    ) -> Result<()>;

    /// Sets a stopped instance back to one of its snapshots. Our marks stay as they were before.
    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()>;

    /// Deletes a snapshot.
    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()>;

    /// All images that the engine has.
    async fn images(&self) -> Result<Vec<StoredImage>>;

    /// Makes an image of a snapshot, under an alias.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias that is taken.
    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Fingerprint>;

    /// Deletes an image with its aliases.
    async fn delete_image(&self, image: &Fingerprint) -> Result<()>;

    /// Gives an alias another name.
    ///
    /// # Errors
    /// `NotFound` for the old, `AlreadyExists` for the new one.
    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()>;

    /// Writes an image as one file that [`Backend::import_image`] takes, of any engine of this kind.
    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()>;

    /// Takes an image in, under an alias. An image that is there already gets the alias as well.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias that is taken; `Engine` for bytes that are no image.
    async fn import_image(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint>;

    /// Reads a file, a directory's names or a link, whether the instance runs or not. `path` is
    /// absolute; a link at its end isn't followed.
    ///
    /// # Errors
    /// `NotFound`.
    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile>;

    /// Writes a file, a directory or a link, whether the instance runs or not. An existing file is
    /// replaced, an existing directory kept.
    ///
    /// # Errors
    /// `NotFound` for a path whose directory isn't there.
    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()>;

    /// Deletes a file, whether the instance runs or not.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()>;

    /// The public key by which the engine itself comes in as the guest's user, if that is how it does:
    /// whoever sets the user up lets it in as well.
    ///
    /// # Errors
    /// `Io` for one that can't be read.
    fn own_key(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Runs a command as the guest's root and pumps its streams until it ends. Dropping the future
    /// ends the command.
    ///
    /// Returns the exit code; 128 + the signal's number where a signal ended it, 127 where the
    /// command isn't there, 126 where it can't be run.
    ///
    /// # Errors
    /// `Engine` where the instance doesn't run.
    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32>;

    /// The way to the ports of a running instance. Nobody is let in by it: it lasts for one boot, and
    /// the streams that it gave live on without it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where the instance doesn't run, `Guest` where it has no address yet,
    /// `Unsupported` where its network can't be reached from here.
    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>>;

    /// Connects to a TCP port of a running instance, once.
    ///
    /// # Errors
    /// Those of [`Backend::route`] and of [`Route::dial`].
    async fn dial(&self, name: &InstanceName, port: GuestPort) -> Result<GuestStream> {
        self.route(name).await?.dial(port).await
    }

    /// Lets a running instance use a socket of this host.
    ///
    /// # Errors
    /// `Unsupported` where the engine can't.
    async fn forward_socket(&self, name: &InstanceName, forward: &SocketForward) -> Result<()> {
        let message = format!("{} lends no sockets, not to `{name}` either", self.kind());
        let _ = forward;
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Ends a forward, by its name; one that isn't there is a success, and so is an instance that isn't.
    async fn end_socket_forward(&self, name: &InstanceName, forward: &str) -> Result<()> {
        let _ = (name, forward);
        Ok(())
    }

    /// Ends all loans of an instance.
    async fn end_socket_forwards(&self, name: &InstanceName) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// Looks for what keeps envs from being made, from being reached or from being undone.
    async fn diagnose(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// What is left of instances that somebody has deleted past us, where the engine itself doesn't delete it.
    async fn leftovers(&self) -> Result<Vec<Leftover>> {
        Ok(Vec::new())
    }

    /// Deletes what is left, by its id; what belongs to somebody after all stays.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_leftover(&self, id: &str) -> Result<()> {
        let message = format!("nothing is left of {id}");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// Waits for what the engine itself still does on an instance: work that a killed caller began.
    async fn settle(&self, name: &InstanceName) -> Result<()>;

    /// What happens in the engine from now on. The stream ends when the connection is lost.
    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>>;

    /// Resolves once the engine may answer again after it was lost: its socket is back, or a
    /// bounded time has passed.
    async fn returned(&self);
}
