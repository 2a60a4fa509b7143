//! Types of the backend traits.

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

/// What an engine supports, by its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Name and version, for people.
    pub server: String,
    /// Snapshots share blocks with the instance, so copies are cheap.
    pub copy_on_write: bool,
    /// A restore keeps later snapshots (zfs deletes them).
    pub restore_keeps_later_snapshots: bool,
    /// Snapshots are allowed; an engine's project may forbid them.
    pub snapshots: bool,
    /// The engine deletes expired snapshots.
    pub snapshot_expiry: bool,
    /// CPU, memory and disk can be limited.
    pub limits: bool,
    /// A running instance can be copied.
    pub copies_running: bool,
    /// A running instance keeps running while a snapshot is taken.
    pub snapshots_running: bool,
    /// A copy gets a machine ID, hostname and host keys of its own at its first start.
    pub renews_identity: bool,
    /// The engine can start instances when it starts.
    pub autostart: bool,
    pub disks_shrink: bool,
    /// Running instances have addresses that this host can reach.
    pub addresses: bool,
    /// The engine can forward ports.
    pub native_forwards: bool,
    pub rosetta: bool,
    /// Changes of a running instance take effect at its next start.
    pub settings_at_start: bool,
}

/// An instance, as reported by the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub name: InstanceName,
    pub status: EnvStatus,
    /// The last start, if the engine reports it.
    pub started_at: Option<Timestamp>,
    /// A global address; IPv4 is preferred.
    pub address: Option<IpAddr>,
    pub marks: Marks,
    /// Oldest first.
    pub snapshots: Vec<InstanceSnapshot>,
    pub settings: Settings,
    /// The image it was created from.
    pub base_image: Option<Fingerprint>,
    /// The cluster member.
    pub location: Option<String>,
    /// Another program created it, as far as the engine records that. LXD and Incus do not, and the original's
    /// instances have no marks.
    pub is_foreign: bool,
}

/// A snapshot, as reported by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSnapshot {
    pub name: SnapshotName,
    pub created_at: Timestamp,
    /// Its metadata is unreadable, so it can only be deleted.
    pub is_broken: bool,
}

/// Our marks on an instance, by which it is recognized.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub project: Option<ProjectName>,
    pub env: Option<EnvName>,
    /// The project's directory.
    pub path: Option<PathBuf>,
    /// An unfinished operation on it.
    pub operation: Option<OperationId>,
}

impl Marks {
    /// Whether there are no marks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether containers may run in an env.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nesting {
    /// With interception of mknod and setxattr.
    #[default]
    On,
    Off,
    /// As `On`, with Docker installed.
    Docker,
}

/// A directory of the host, mounted in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute.
    pub host: PathBuf,
    /// Absolute.
    pub guest: PathBuf,
    pub readonly: bool,
}

/// Settings of an instance; they can be changed later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `None` is the engine's default.
    pub limits: Limits,
    pub nesting: Nesting,
    /// Whether it starts with the engine, whatever its last state.
    pub autostart: bool,
    pub mounts: Vec<Mount>,
    /// Ports that the engine forwards from the host's loopback while the instance runs, if it has
    /// [`Capabilities::native_forwards`].
    pub native_ports: Vec<GuestPort>,
    /// Whether x86-64 programs run on Apple silicon, if the engine has [`Capabilities::rosetta`].
    pub rosetta: bool,
}

impl Settings {
    /// Drops settings that the engine lacks and that have a substitute: this program forwards the ports, and
    /// Rosetta is for Macs only.
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
    /// The result of [`Backend::find_image`](super::Backend::find_image).
    pub image: Image,
    pub marks: Marks,
    pub settings: Settings,
    /// The user to create, if the engine creates one.
    pub user: UserName,
}

/// A copy of an instance.
#[derive(Debug, Clone)]
pub struct CloneSpec {
    pub source: InstanceName,
    /// `None`: the current state.
    pub snapshot: Option<SnapshotName>,
    pub name: InstanceName,
    /// Marks of the copy.
    pub marks: Marks,
}

/// A Unix socket of the host, forwarded into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketForward {
    /// Device name; begins with [`SocketForward::PREFIX`].
    pub name: String,
    /// Absolute.
    pub host: PathBuf,
    /// Absolute.
    pub guest: String,
    /// Its owner in the guest.
    pub uid: u32,
    /// Its group in the guest.
    pub gid: u32,
}

impl SocketForward {
    /// Prefix of device names. Stored in instance configurations, so it must not change.
    pub const PREFIX: &'static str = "ldm-lent-";
}

/// Current usage of a running instance; `None` if the engine does not report it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// CPU time since the start.
    pub cpu_nanoseconds: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes that are not shared.
    pub disk: Option<u64>,
    pub processes: Option<u64>,
    /// Global addresses.
    pub addresses: Vec<IpAddr>,
}

/// A storage pool, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub used: u64,
    pub total: u64,
}

/// Leftovers of an instance that was deleted by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub id: String,
    /// Description, for people.
    pub what: String,
    pub bytes: u64,
}

/// A change reported by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendEvent {
    /// An instance was created, changed, started, stopped, restored or deleted.
    Changed(InstanceName),
    /// An instance started. It gets its address later, without an event.
    Started(InstanceName),
    /// An instance was renamed.
    Renamed {
        old: InstanceName,
        new: InstanceName,
    },
}

/// A step of a long change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is being done, for people.
    pub text: String,
    /// 0 to 100, if known.
    pub percent: Option<u8>,
    /// Bytes so far, if the total is unknown.
    pub bytes: Option<u64>,
}

/// Receives the progress of a backend.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Step) + Send + Sync>);

impl Progress {
    /// Calls `report` for each step.
    pub fn new(report: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// Discards all steps.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Reports a step.
    pub fn step(&self, text: impl Into<String>, percent: Option<u8>) {
        (self.0)(Step {
            text: text.into(),
            percent,
            bytes: None,
        });
    }

    /// Reports the bytes so far of an unknown total.
    pub fn bytes(&self, text: impl Into<String>, bytes: u64) {
        (self.0)(Step {
            text: text.into(),
            percent: None,
            bytes: Some(bytes),
        });
    }
}
