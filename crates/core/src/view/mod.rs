//! What people see: the one shape that `list --json`, the tray and the page share.
//!
//! A [`View`] is folded from the engines' and the files' events (`watch`); between two whole views
//! travel [`ViewPatch`]es, numbered by [`ViewEvent`], so that a gap is noticed.
//! Deliberately absent: words, colours and relative times, which belong to the surfaces.

mod action;
mod forward;
mod patch;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::ErrorReport;
use crate::model::{
    EngineKind, EnvName, EnvStatus, GuestPort, HostPort, ImageName, InstanceName, Limits,
    OperationId, PortState, ProjectName, Reach, SnapshotName,
};

pub use action::Action;
pub use forward::{FocusMove, ForwardView};
pub use patch::{Outcome, ProjectHead, ViewEvent, ViewPatch};

/// Version of every JSON object that we print. Changes within it only add.
pub const SCHEMA: u32 = 1;

/// Everything at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct View {
    /// The engines that were found, or that were looked for in vain.
    pub engines: Vec<EngineView>,
    /// The known projects, by name.
    pub projects: Vec<ProjectView>,
}

/// An engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct EngineView {
    /// Which kind.
    pub kind: EngineKind,
    /// Where it answers: a socket's path, or the URL of a remote.
    pub address: String,
    /// Whether it answers now.
    pub reachable: bool,
    /// Why it doesn't.
    pub problem: Option<ErrorReport>,
}

/// A project: a directory with a `containers.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ProjectView {
    /// Name in the file; `None` in a file without `project:`.
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub name: Option<ProjectName>,
    /// Its directory: unique, and its identity here.
    pub path: String,
    /// Why its file can't be read.
    pub problem: Option<ErrorReport>,
    /// Its envs, in the file's order.
    pub envs: Vec<EnvView>,
}

/// One env.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct EnvView {
    /// Name of its project; `None` in a file without one.
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub project: Option<ProjectName>,
    /// Name in the file.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub name: EnvName,
    /// Name in the engine.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub instance: InstanceName,
    /// The engine that has it; `None` where none has, or none can be asked.
    pub engine: Option<EngineKind>,
    /// The member of a cluster that has it; missing where the engine is no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional))]
    pub location: Option<String>,
    /// The other directory that made it, a second checkout of the project, while that is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional))]
    pub checkout: Option<String>,
    /// Image that the file names for it.
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub image: Option<ImageName>,
    /// What it does.
    pub status: EnvStatus,
    /// Its address, IPv4 if it has one.
    pub address: Option<String>,
    /// Its configured ports, in the file's order.
    pub ports: Vec<PortView>,
    /// Whether a connection starts it; missing where it doesn't.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "bindings", ts(optional, as = "Option<bool>"))]
    pub wake: bool,
    /// Its snapshots, oldest first, without our undo copies.
    pub snapshots: Vec<SnapshotView>,
    /// Its limits.
    pub limits: Limits,
    /// How many terminal sessions of ours are open in it; missing where none is.
    #[serde(default, skip_serializing_if = "is_none")]
    #[cfg_attr(feature = "bindings", ts(as = "Option<u32>", optional))]
    pub sessions: u32,
    /// What is being done to it now.
    pub operation: Option<OperationView>,
    /// What went wrong last, until dealt with.
    pub problem: Option<ErrorReport>,
    /// The newest operation on it that can be taken back.
    pub undo: Option<UndoView>,
}

// The shape of the argument is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none(number: &u32) -> bool {
    *number == 0
}

/// One configured port of an env.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct PortView {
    /// Port inside of the env.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub guest: GuestPort,
    /// Port on this machine.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub host: HostPort,
    /// Where a browser finds it while it is forwarded.
    pub url: String,
    /// What the forward does.
    pub state: PortState,
    /// Whether this env has the port's focus.
    pub focused: bool,
    /// Port on this machine that is this env's alone, while it is forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional, type = "number"))]
    pub stable: Option<HostPort>,
    /// From where it can be reached, where the file says more than from this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional, type = "string"))]
    pub reach: Option<Reach>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct SnapshotView {
    /// Its name.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub name: SnapshotName,
    /// When the engine made it (RFC 3339).
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub created_at: Timestamp,
    /// What the file says of it.
    pub description: Option<String>,
}

/// Something that is being done to an env.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct OperationView {
    /// Its id.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub id: OperationId,
    /// What it does.
    #[serde(rename = "verb")]
    pub kind: OperationKind,
    /// The step that it is at, in words.
    pub step: Option<String>,
    /// How far that step is, 0 to 100, where that is known.
    pub percent: Option<u8>,
    /// When it began (RFC 3339).
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub started_at: Timestamp,
}

/// Something that was done to an env and can be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct UndoView {
    /// The operation to take back.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub id: OperationId,
    /// What it did.
    #[serde(rename = "verb")]
    pub kind: OperationKind,
    /// When (RFC 3339).
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub at: Timestamp,
    /// Until when it can be taken back (RFC 3339).
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub expires_at: Timestamp,
}

/// What can be done to an env.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum OperationKind {
    /// Make it.
    Create,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Take a snapshot of it.
    Snapshot,
    /// Delete one of its snapshots.
    DeleteSnapshot,
    /// Set it back to a snapshot.
    Restore,
    /// Remove it.
    Remove,
    /// Take back the last restore or removal.
    Undo,
    /// Make it as a copy of another.
    Clone,
    /// Give it another name.
    Rename,
    /// Stop it and start it again.
    Restart,
    /// Make an image of it.
    Publish,
    /// Copy files into it or out of it.
    Transfer,
    /// Set what the file says of it now.
    Configure,
    /// ForwardSocket it a socket of this host.
    #[serde(rename = "lend")]
    ForwardSocket,
}

/// Which env, from another process or the page.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct EnvRef {
    /// The project's directory.
    pub project_path: String,
    /// The env in it.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub env: EnvName,
}

impl OperationKind {
    /// The kind in messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Snapshot => "take a snapshot",
            Self::DeleteSnapshot => "delete a snapshot",
            Self::Restore => "restore",
            Self::Remove => "remove",
            Self::Undo => "undo",
            Self::Clone => "clone",
            Self::Rename => "rename",
            Self::Restart => "restart",
            Self::Publish => "make an image",
            Self::Transfer => "copy files",
            Self::Configure => "configure",
            Self::ForwardSocket => "forward a socket",
        }
    }

    /// The operation, as in "an interrupted …".
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Snapshot => "snapshot",
            Self::DeleteSnapshot => "deletion of a snapshot",
            Self::Restore => "restore",
            Self::Remove => "removal",
            Self::Undo => "undo",
            Self::Clone => "clone",
            Self::Rename => "rename",
            Self::Restart => "restart",
            Self::Publish => "making of an image",
            Self::Transfer => "copying of files",
            Self::Configure => "change of settings",
            Self::ForwardSocket => "loan of a socket",
        }
    }
}

impl ProjectView {
    /// The project without the state of its envs.
    #[must_use]
    pub fn head(&self) -> ProjectHead {
        ProjectHead {
            name: self.name.clone(),
            path: self.path.clone(),
            problem: self.problem.clone(),
            envs: self.envs.iter().map(|env| env.name.clone()).collect(),
        }
    }

    /// The project's name, else the last part of its directory.
    #[must_use]
    pub fn label(&self) -> &str {
        match &self.name {
            Some(name) => name.as_str(),
            None => self.path.rsplit('/').next().unwrap_or(&self.path),
        }
    }
}
