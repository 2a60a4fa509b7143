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
mod instance;
pub mod lima;
mod listener;
pub mod lxc;
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
pub use route::{Ports, Route};
pub use snapshot::Snapshots;
pub use stream::{Channel, GuestStream};
pub use types::{
    BackendEvent, Capabilities, CloneSpec, Instance, InstanceSnapshot, LaunchSpec, Leftover, Marks,
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
pub trait Backend: Instances + Snapshots + Images + Files + Exec + Ports + Send + Sync {
    /// Identifies the engine, its address included.
    fn id(&self) -> &EngineId;

    /// The kind of the engine.
    fn kind(&self) -> EngineKind {
        self.id().kind
    }

    /// Whether an engine is there at all, answering or not. One that isn't can hold no instance; of
    /// one that is and doesn't answer, nobody knows what it holds. Looks at files only.
    fn is_installed(&self) -> bool;

    /// What it can do, asked of the engine itself.
    async fn capabilities(&self) -> Result<Capabilities>;

    /// The storage pool in which new instances are made; `None` where the engine doesn't tell.
    async fn pool_space(&self) -> Result<Option<Space>>;

    /// Looks for what keeps envs from being made, from being reached or from being undone.
    async fn diagnose(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    /// Remains of instances that were deleted outside of this program, where the engine keeps any.
    async fn leftovers(&self) -> Result<Vec<Leftover>> {
        Ok(Vec::new())
    }

    /// Deletes one of the leftovers by its id, unless it is in use.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_leftover(&self, id: &str) -> Result<()> {
        let message = format!("nothing is left of {id}");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// What happens in the engine from now on. The stream ends when the connection is lost.
    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>>;

    /// Resolves once the engine may answer again after it was lost: its socket is back, or a
    /// bounded time has passed.
    async fn returned(&self);
}
