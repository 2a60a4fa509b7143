//! Types of the backend traits.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Image, Mount, MountOwner, outermost};
use crate::model::{
    EnvName, EnvStatus, Fingerprint, GuestPort, InstanceName, Limits, OperationId, ProjectName,
    SnapshotName, UserName,
};
use jiff::Timestamp;

/// What an engine supports, as reported by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Name and version, for messages.
    pub server: String,
    /// Snapshots share blocks with the instance, so copies are cheap.
    pub copy_on_write: bool,
    /// A restore keeps later snapshots (zfs deletes them).
    pub restore_keeps_later_snapshots: bool,
    /// An engine's project may forbid them.
    pub snapshots: bool,
    /// Expired snapshots are deleted.
    pub snapshot_expiry: bool,
    pub limits: bool,
    /// Running instances can be copied.
    pub copies_running: bool,
    /// Instances keep running while a snapshot is taken.
    pub snapshots_running: bool,
    /// A copy gets its own machine ID, host name and host keys at its first start.
    pub renews_identity: bool,
    pub autostart: bool,
    pub disks_shrink: bool,
    /// The host can reach the addresses of running instances.
    pub addresses: bool,
    /// The engine itself can forward ports.
    pub native_forwards: bool,
    pub rosetta: bool,
    /// Changes of a running instance take effect at its next start.
    pub settings_at_start: bool,
    /// Mounts are bind mounts: a single file can be one, one can cover a part of another, and owners are mapped.
    pub bind_mounts: bool,
}

/// An instance, as reported by the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub name: InstanceName,
    pub status: EnvStatus,
    /// Last start, if reported.
    pub started_at: Option<Timestamp>,
    /// Global address, preferably IPv4.
    pub address: Option<IpAddr>,
    pub marks: Marks,
    /// Oldest first.
    pub snapshots: Vec<InstanceSnapshot>,
    pub settings: Settings,
    pub base_image: Option<Fingerprint>,
    /// Cluster member.
    pub location: Option<String>,
    /// Created by another program. Always false on LXD and Incus, which do not record it.
    pub is_foreign: bool,
}

/// A snapshot, as reported by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSnapshot {
    pub name: SnapshotName,
    pub created_at: Timestamp,
    /// Its metadata is unreadable; it can only be deleted.
    pub is_broken: bool,
}

/// Marks that identify our instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub project: Option<ProjectName>,
    pub env: Option<EnvName>,
    /// Directory of the project.
    pub path: Option<PathBuf>,
    /// Operation in progress.
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
    /// Intercepts mknod and setxattr.
    #[default]
    On,
    Off,
    /// Like `On`, with Docker installed.
    Docker,
}

/// Settings that can be changed later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `None` is the engine's default.
    pub limits: Limits,
    pub nesting: Nesting,
    /// Start with the engine, whatever the last state.
    pub autostart: bool,
    /// By guest path.
    pub mounts: Vec<Mount>,
    /// Takes effect at a start. `None` without mounts.
    pub mount_owner: Option<MountOwner>,
    /// Ports that the engine forwards from the host's loopback, with [`Capabilities::native_forwards`].
    pub native_ports: Vec<GuestPort>,
    /// Run x86-64 programs on Apple silicon, with [`Capabilities::rosetta`].
    pub rosetta: bool,
}

impl Settings {
    /// Drops settings that the engine lacks and does not need: our forwarder replaces native forwards, and
    /// Rosetta exists on Macs only.
    #[must_use]
    pub fn within(mut self, capabilities: &Capabilities) -> Self {
        if !capabilities.native_forwards {
            self.native_ports.clear();
        }
        self.rosetta &= capabilities.rosetta;
        if !capabilities.bind_mounts {
            self.mounts = outermost(&self.mounts);
            self.mount_owner = None;
        }
        self
    }
}

/// Specification of a new instance.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    pub name: InstanceName,
    /// The result of [`Backend::find_image`](super::Backend::find_image).
    pub image: Image,
    pub marks: Marks,
    pub settings: Settings,
    /// User to create, if the engine creates users.
    pub user: UserName,
}

/// Specification of a copy.
#[derive(Debug, Clone)]
pub struct CloneSpec {
    pub source: InstanceName,
    /// `None`: the current state.
    pub snapshot: Option<SnapshotName>,
    pub name: InstanceName,
    pub marks: Marks,
}

/// A Unix socket of the host, forwarded into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketForward {
    /// Device name, with [`SocketForward::PREFIX`].
    pub name: String,
    /// Absolute.
    pub host: PathBuf,
    /// Absolute.
    pub guest: String,
    /// Owner in the guest.
    pub uid: u32,
    pub gid: u32,
}

impl SocketForward {
    /// Prefix of device names. Stored in instance configurations: do not change.
    pub const PREFIX: &'static str = "ldm-lent-";
}

/// Resource usage of a running instance; `None` where not reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// CPU time since the start.
    pub cpu_nanoseconds: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes, without shared blocks.
    pub disk: Option<u64>,
    pub processes: Option<u64>,
    /// Global addresses.
    pub addresses: Vec<IpAddr>,
}

/// Usage of a storage pool, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub used: u64,
    pub total: u64,
}

/// Leftover of an instance that another program deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub id: String,
    /// Description for the user.
    pub what: String,
    pub bytes: u64,
}

/// A change reported by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendEvent {
    /// An instance was created, changed, started, stopped, restored or deleted.
    Changed(InstanceName),
    /// The address follows later, without an event.
    Started(InstanceName),
    Renamed {
        old: InstanceName,
        new: InstanceName,
    },
}

/// Progress of a long-running change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Status text for the user.
    pub text: String,
    /// 0–100, if known.
    pub percent: Option<u8>,
    /// Bytes so far, if the total is unknown.
    pub bytes: Option<u64>,
}

/// Callback for progress.
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

    /// Reports bytes of an unknown total.
    pub fn bytes(&self, text: impl Into<String>, bytes: u64) {
        (self.0)(Step {
            text: text.into(),
            percent: None,
            bytes: Some(bytes),
        });
    }
}
