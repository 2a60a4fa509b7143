//! Backends: the interface to engines and Lima, and its implementations.
//!
//! Contract, checked by `tests/contract` against every backend:
//! - Instances are identified by their exact name. A missing one is [`ErrorKind::NotFound`], an engine without a
//!   response [`ErrorKind::Unreachable`]; the two are never confused.
//! - A change is complete when its future resolves, and has failed when that is an error.
//! - Starting a running instance or stopping a stopped one is [`ErrorKind::Conflict`].
//! - Composite work (user set-up, readiness) is written once over [`Backend::exec`], in `provision`.
//!
//! Projects, their files, locks and undo belong to `operations`; terms of one engine to its backend.
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
mod instance;
pub mod lima;
mod listener;
pub mod lxc;
mod mount;
mod route;
mod snapshot;
pub mod ssh;
mod stream;
mod types;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EngineKind, RemoteName};

pub use exec::{
    Exec, ExecControl, ExecIo, ExecSpec, Output, WindowSize, capture, run_script,
    stream_from_script, stream_to_script,
};
pub use file::{Content, Files, GuestFile, Ownership};
pub use finding::{Finding, Level};
pub use image::{Image, Images, RemoteImage, Secret, StoredImage};
pub use instance::Instances;
pub use listener::{LIST_LISTENERS, Listener, Process, listeners};
pub use mount::{IdPair, Mount, MountOwner, outermost};
pub use route::{Ports, Route};
pub use snapshot::Snapshots;
pub use stream::{Channel, GuestStream};
pub use types::{
    BackendEvent, Capabilities, CloneSpec, Instance, InstanceSnapshot, LaunchSpec, Leftover, Marks,
    Nesting, Progress, Settings, SocketForward, Space, Step, Usage,
};

pub(crate) const FULL_HINT: &str = "the storage pool is full: free what undo keeps with \
     `lxc-dev-manager gc --all`, delete something in an env, or make the pool larger";

/// Whether a message of an engine or a guest reports a full disk. There is no error code for it.
pub(crate) fn is_full(words: &str) -> bool {
    let words = words.to_lowercase();
    ["no space left on device", "disk quota exceeded"]
        .iter()
        .any(|known| words.contains(known))
}

/// Engines that are used only when named.
pub trait Remotes: Send + Sync {
    /// The engine with this name. Does not connect yet.
    ///
    /// # Errors
    /// `NotFound`, with the known names; `Config` or `Unsupported` if its configuration is unusable.
    fn named(&self, name: &RemoteName) -> Result<Arc<dyn Backend>>;

    /// The engine with this ID, if the user still has a name for it.
    fn at(&self, id: &EngineId) -> Option<Arc<dyn Backend>>;
}

/// An engine, or Lima.
///
/// All calls except [`Backend::exec`] and [`Backend::events`] have a timeout.
#[async_trait]
pub trait Backend: Instances + Snapshots + Images + Files + Exec + Ports + Send + Sync {
    /// Identifies the engine, including its address.
    fn id(&self) -> &EngineId;

    /// The kind of the engine.
    fn kind(&self) -> EngineKind {
        self.id().kind
    }

    /// Whether the engine is installed, reachable or not. Only checks files. An engine that is not installed has no
    /// instances; those of an unreachable one are unknown.
    fn is_installed(&self) -> bool;

    /// What the engine supports.
    async fn capabilities(&self) -> Result<Capabilities>;

    /// Usage of the storage pool for new instances, if reported.
    async fn pool_space(&self) -> Result<Option<Space>>;

    /// Checks for problems that prevent creation, access or undo.
    async fn diagnose(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Leftovers of instances that another program deleted.
    async fn leftovers(&self) -> Result<Vec<Leftover>> {
        Ok(Vec::new())
    }

    /// Deletes a leftover by ID, unless it is in use.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_leftover(&self, id: &str) -> Result<()> {
        let message = format!("nothing is left of {id}");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// Events from now on. The stream ends when the connection is lost.
    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>>;

    /// Waits after a connection loss until a retry makes sense: the socket exists again, or an interval has passed.
    async fn returned(&self);
}
