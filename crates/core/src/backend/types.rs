//! What backends and their callers tell each other.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Image;
use crate::model::{
    EnvName, EnvStatus, Fingerprint, GuestPort, InstanceName, Limits, OperationId, ProjectName,
    SnapshotName, UserName,
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
    /// Snapshots may be taken; a project of the engine's may forbid them.
    pub snapshots: bool,
    /// The engine deletes snapshots by itself when they expire.
    pub snapshot_expiry: bool,
    /// CPU, memory and disk can be limited.
    pub limits: bool,
    /// A running instance can be copied as it is; else it has to be stopped for it.
    pub copies_running: bool,
    /// A running instance stays up while a snapshot of it is taken; else it is stopped for a moment.
    pub snapshots_running: bool,
    /// A copy becomes a machine of its own by itself when it starts: machine id, host name and host keys.
    pub renews_identity: bool,
    /// Instances can be started by the engine when it starts itself.
    pub autostart: bool,
    /// A disk can be made smaller than it was.
    pub disks_shrink: bool,
    /// Each running instance has an address that this machine reaches.
    pub addresses: bool,
    /// It can forward ports by itself.
    pub native_forwards: bool,
    /// It can run programs of x86-64 by Rosetta.
    pub rosetta: bool,
    /// What is changed on a running instance counts from its next start.
    pub settings_at_start: bool,
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
    /// What is set on it.
    pub settings: Settings,
    /// Fingerprint of the image that it was made from.
    pub base_image: Option<Fingerprint>,
    /// The member of a cluster that has it.
    pub location: Option<String>,
    /// The engine knows that another program created it. LXD and Incus do not: the original's instances
    /// there carry no marks.
    pub is_foreign: bool,
}

/// A snapshot as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSnapshot {
    pub name: SnapshotName,
    /// When it was made.
    pub created_at: Timestamp,
    /// It can be deleted, and nothing else: what is known of it can't be read.
    pub is_broken: bool,
}

/// What we write on an instance to know it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
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

/// Whether containers may run inside of an env.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nesting {
    /// They work: nesting, and interception of mknod and setxattr.
    #[default]
    On,
    /// They don't.
    Off,
    /// They work, and Docker is installed.
    Docker,
}

/// A directory of the host that is seen in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host, absolute.
    pub host: PathBuf,
    /// In the guest, absolute.
    pub guest: PathBuf,
    /// Whether the guest may only read it.
    pub readonly: bool,
}

/// What can be set on an instance, at its making and later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// How much it may use; what is `None` is the engine's default.
    pub limits: Limits,
    /// Containers inside.
    pub nesting: Nesting,
    /// Started when the engine starts, whatever it did before.
    pub autostart: bool,
    /// Directories of the host that it sees.
    pub mounts: Vec<Mount>,
    /// Ports that the engine itself forwards, each from the same one on the host's loopback, while it runs. Only an
    /// engine with [`Capabilities::native_forwards`] does.
    pub native_ports: Vec<GuestPort>,
    /// Programs of x86-64 run in a guest of another architecture by the host's own translation: Rosetta, on Apple
    /// silicon. Only an engine with [`Capabilities::rosetta`] has it.
    pub rosetta: bool,
}

impl Settings {
    /// Without what an engine doesn't have and what is no loss there: ports are forwarded by us then, and programs of
    /// another architecture are for its own kernel.
    #[must_use]
    pub fn within(mut self, capabilities: &Capabilities) -> Self {
        if !capabilities.native_forwards {
            self.native_ports.clear();
        }
        self.rosetta &= capabilities.rosetta;
        self
    }
}

/// A new instance.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    pub name: InstanceName,
    /// Its image, as [`Backend::find_image`](super::Backend::find_image) found it.
    pub image: Image,
    /// Whose it is.
    pub marks: Marks,
    /// What is set on it.
    pub settings: Settings,
    /// The user that its commands will run as, where the engine makes one itself.
    pub user: UserName,
}

/// A copy of an instance.
#[derive(Debug, Clone)]
pub struct CloneSpec {
    /// What is copied.
    pub source: InstanceName,
    /// The snapshot that is copied; `None` is its state of now.
    pub snapshot: Option<SnapshotName>,
    pub name: InstanceName,
    /// Whose the new one is.
    pub marks: Marks,
}

/// A Unix socket of this host that a guest may use for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketForward {
    /// What it is called in the engine; begins with [`SocketForward::PREFIX`].
    pub name: String,
    /// The socket on this host, absolute.
    pub host: PathBuf,
    /// Where it is in the guest, absolute.
    pub guest: String,
    /// Who may use it there.
    pub uid: u32,
    /// The group of who may use it there.
    pub gid: u32,
}

impl SocketForward {
    /// Prefix of device names. Part of instance configurations, so it stays.
    pub const PREFIX: &'static str = "ldm-lent-";
}

/// What a running instance uses now. What the engine doesn't tell is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// CPU time since its start, in nanoseconds.
    pub cpu_nanoseconds: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Bytes on the disk that are its own.
    pub disk: Option<u64>,
    /// Number of processes.
    pub processes: Option<u64>,
    /// Its global addresses.
    pub addresses: Vec<IpAddr>,
}

/// A storage pool, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What is taken of it.
    pub used: u64,
    pub total: u64,
}

/// Remains of an instance that was deleted outside of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Names it.
    pub id: String,
    /// What it is, in words.
    pub what: String,
    /// Bytes that it holds.
    pub bytes: u64,
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
    /// Bytes until now, where nobody knows how many there will be.
    pub bytes: Option<u64>,
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
            bytes: None,
        });
    }

    /// Says how many bytes there are until now, of nobody knows how many.
    pub fn bytes(&self, text: impl Into<String>, bytes: u64) {
        (self.0)(Step {
            text: text.into(),
            percent: None,
            bytes: Some(bytes),
        });
    }
}
