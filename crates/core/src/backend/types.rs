//! What backends and their callers tell each other.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    EnvName, EnvStatus, InstanceName, Limits, OperationId, ProjectName, SnapshotName,
};

/// What an engine can do, as it said itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Name and version, for people.
    pub server: String,
    /// Snapshots share their blocks with the instance, so a copy costs next to nothing.
    pub copy_on_write: bool,
    /// Going back to a snapshot leaves the later ones alone (zfs deletes them).
    pub restore_keeps_later_snapshots: bool,
    /// The engine deletes snapshots by itself when they expire.
    pub snapshot_expiry: bool,
    /// CPU, memory and disk can be limited.
    pub limits: bool,
}

/// An instance as the engine sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its exact name.
    pub name: InstanceName,
    /// What it does.
    pub status: EnvStatus,
    /// When it was started last, where the engine tells.
    pub started_at: Option<Timestamp>,
    /// Its global address, IPv4 before IPv6.
    pub address: Option<IpAddr>,
    /// Whose it is.
    pub marks: Marks,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<InstanceSnapshot>,
    /// Its limits.
    pub limits: Limits,
}

/// A snapshot as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSnapshot {
    /// Its name.
    pub name: SnapshotName,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What we write on an instance to know it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The project's name.
    pub project: Option<ProjectName>,
    /// The env's name.
    pub env: Option<EnvName>,
    /// The project's directory.
    pub path: Option<PathBuf>,
    /// The operation that works on it and hasn't ended.
    pub operation: Option<OperationId>,
}

impl Marks {
    /// Whether anything is written on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How far containers may be nested in an env.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nesting {
    /// Containers inside work: nesting, and interception of mknod and setxattr.
    #[default]
    On,
    /// No containers inside.
    Off,
}

/// A new instance.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    /// Its name.
    pub name: InstanceName,
    /// Its image, as [`Backend::find_image`](super::Backend::find_image) found it.
    pub image: Image,
    /// Whose it is.
    pub marks: Marks,
    /// Its limits.
    pub limits: Limits,
    /// Containers inside.
    pub nesting: Nesting,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// The engine has it, under this fingerprint.
    Local {
        /// Its fingerprint.
        fingerprint: String,
    },
    /// A public simplestreams server has it.
    Simplestreams {
        /// URL of the server.
        server: String,
        /// Name there.
        alias: String,
    },
}

/// Something that happened in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendEvent {
    /// An instance was made, changed, started, stopped, restored or deleted.
    Changed(InstanceName),
    /// An instance started. Its address comes later, without an event.
    Started(InstanceName),
    /// An instance has another name now.
    Renamed {
        /// Before.
        old: InstanceName,
        /// Now.
        new: InstanceName,
    },
}

/// One step of a long change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is being done, in words.
    pub text: String,
    /// How far, 0 to 100, where that is known.
    pub percent: Option<u8>,
}

/// Where a backend says how far it is.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Step) + Send + Sync>);

impl Progress {
    /// Calls `report` at every step.
    pub fn new(report: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// Says nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Says where it is.
    pub fn step(&self, text: impl Into<String>, percent: Option<u8>) {
        (self.0)(Step {
            text: text.into(),
            percent,
        });
    }
}
