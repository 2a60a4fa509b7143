//! The view: the state that `list --json`, the tray and the window share.
//!
//! `watch` keeps a [`View`] current. Other processes get [`ViewPatch`]es, numbered by [`ViewEvent`], so that
//! they notice a gap.
//! Deliberately absent: colours and relative times, which belong to the surfaces.

mod action;
mod allowed;
mod forward;
mod operation_kind;
mod patch;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::ErrorReport;
use crate::model::{
    EngineKind, EnvName, EnvStatus, GuestPort, HostPort, ImageName, InstanceName, Limits,
    ListenScope, OperationId, PortState, ProjectName, SnapshotName,
};

pub use action::Action;
pub use allowed::{ActionKind, AllowedActions};
pub use forward::{FocusMove, ForwardView};
pub use operation_kind::{OperationKind, OperationLabels};
pub use patch::{Outcome, ProjectHead, ViewEvent, ViewPatch};

/// Version of all printed JSON objects. Changes within a version only add fields.
pub const SCHEMA: u32 = 1;

/// The state of all engines and projects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct View {
    pub engines: Vec<EngineView>,
    /// Sorted by name.
    pub projects: Vec<ProjectView>,
}

/// An engine and whether it responds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct EngineView {
    pub kind: EngineKind,
    /// Path of a socket, or URL of a remote.
    pub address: String,
    pub reachable: bool,
    pub problem: Option<ErrorReport>,
}

/// A project: a directory with a `containers.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ProjectView {
    /// `None` in a file without `project:`.
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub name: Option<ProjectName>,
    /// Directory; identifies the project.
    pub path: String,
    pub problem: Option<ErrorReport>,
    /// What its file does to this machine without the user's consent; omitted if nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "bindings", ts(optional, as = "Option<Vec<PartView>>"))]
    pub untrusted: Vec<PartView>,
    /// In the order of the file.
    pub envs: Vec<EnvView>,
}

/// A part of a file that reaches the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct PartView {
    /// What it does, and in which envs, in words.
    pub text: String,
    /// It reaches the home itself, keys, or files outside of home and project.
    pub is_sensitive: bool,
}

/// An env: its entry in the file and its instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct EnvView {
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub project: Option<ProjectName>,
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub name: EnvName,
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub instance: InstanceName,
    /// `None` if it is not found or its engine is unreachable.
    pub engine: Option<EngineKind>,
    /// The member of a cluster that has it; omitted without a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional))]
    pub location: Option<String>,
    /// The other checkout that created it, if that still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional))]
    pub checkout: Option<String>,
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub image: Option<ImageName>,
    pub status: EnvStatus,
    /// IPv4 if it has both.
    pub address: Option<String>,
    /// In the order of the file.
    pub ports: Vec<PortView>,
    /// Other host names that its forwards answer to; omitted if none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "bindings", ts(optional, as = "Option<Vec<String>>"))]
    pub hosts: Vec<String>,
    /// Whether a connection starts it; omitted if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "bindings", ts(optional, as = "Option<bool>"))]
    pub wake: bool,
    /// Oldest first, without undo copies.
    pub snapshots: Vec<SnapshotView>,
    pub limits: Limits,
    /// Number of open terminal sessions; omitted if 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "bindings", ts(as = "Option<u32>", optional))]
    pub sessions: u32,
    /// The running operation.
    pub operation: Option<OperationView>,
    /// The last error, until it is dismissed.
    pub problem: Option<ErrorReport>,
    /// The newest operation that can be undone.
    pub undo: Option<UndoView>,
    /// Each action with the reason why it is disabled, or `null`.
    #[serde(default)]
    #[cfg_attr(feature = "bindings", ts(type = "Record<ActionKind, string | null>"))]
    pub actions: AllowedActions,
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A configured port of an env.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct PortView {
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub guest: GuestPort,
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub host: HostPort,
    /// URL while it is forwarded.
    pub url: String,
    pub state: PortState,
    /// Whether this env is the default target of the port.
    pub focused: bool,
    /// Port of this machine that belongs to this env only, while it is forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional, type = "number"))]
    pub stable: Option<HostPort>,
    /// Omitted if only this machine can reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "bindings", ts(optional, type = "string"))]
    pub reach: Option<ListenScope>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct SnapshotView {
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub name: SnapshotName,
    /// RFC 3339.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub created_at: Timestamp,
    pub description: Option<String>,
}

/// Something that is being done to an env.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct OperationView {
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub id: OperationId,
    #[serde(rename = "verb")]
    pub kind: OperationKind,
    pub step: Option<String>,
    /// Progress of the step, 0 to 100.
    pub percent: Option<u8>,
    /// RFC 3339.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub started_at: Timestamp,
}

/// An operation that can be undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct UndoView {
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub id: OperationId,
    #[serde(rename = "verb")]
    pub kind: OperationKind,
    /// RFC 3339.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub at: Timestamp,
    /// RFC 3339.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub expires_at: Timestamp,
}

/// A reference to an env, for other processes and the window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct EnvRef {
    /// Directory of the project.
    pub project_path: String,
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub env: EnvName,
}

impl ProjectView {
    /// The project without the state of its envs.
    #[must_use]
    pub fn head(&self) -> ProjectHead {
        ProjectHead {
            name: self.name.clone(),
            path: self.path.clone(),
            problem: self.problem.clone(),
            untrusted: self.untrusted.clone(),
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
