//! Kinds of operations, and their labels on every surface.

use serde::{Deserialize, Serialize};

use crate::model::{EnvName, SnapshotName};

/// What an operation does to an env.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum OperationKind {
    Create,
    Start,
    Stop,
    Snapshot,
    DeleteSnapshot,
    Restore,
    Remove,
    Undo,
    Clone,
    Rename,
    Restart,
    /// Makes an image of the env.
    Publish,
    /// Copies files into the env or out of it.
    Transfer,
    /// Applies the settings of the file.
    Configure,
    /// Forwards a socket of this host into the env.
    #[serde(rename = "lend")]
    ForwardSocket,
}

/// The words for one kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct OperationLabels {
    /// As in "cannot …".
    pub imperative: &'static str,
    /// As in "dev is busy: …".
    pub participle: &'static str,
    /// As in "… dev", capitalised.
    pub past: &'static str,
    /// As in "an interrupted … of dev".
    pub noun: &'static str,
}

impl OperationKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::Create,
        Self::Start,
        Self::Stop,
        Self::Snapshot,
        Self::DeleteSnapshot,
        Self::Restore,
        Self::Remove,
        Self::Undo,
        Self::Clone,
        Self::Rename,
        Self::Restart,
        Self::Publish,
        Self::Transfer,
        Self::Configure,
        Self::ForwardSocket,
    ];

    /// The labels of this kind.
    #[must_use]
    pub fn labels(self) -> OperationLabels {
        let (imperative, participle, past, noun) = match self {
            Self::Create => ("create", "creating", "Created", "create"),
            Self::Start => ("start", "starting", "Started", "start"),
            Self::Stop => ("stop", "stopping", "Stopped", "stop"),
            Self::Snapshot => (
                "take a snapshot",
                "taking a snapshot",
                "Took a snapshot of",
                "snapshot",
            ),
            Self::DeleteSnapshot => (
                "delete a snapshot",
                "deleting a snapshot",
                "Deleted a snapshot of",
                "snapshot deletion",
            ),
            Self::Restore => ("restore", "restoring", "Restored", "restore"),
            Self::Remove => ("remove", "removing", "Removed", "removal"),
            Self::Undo => ("undo", "undoing", "Undid the last change of", "undo"),
            Self::Clone => ("clone", "cloning", "Cloned", "clone"),
            Self::Rename => ("rename", "renaming", "Renamed", "rename"),
            Self::Restart => ("restart", "restarting", "Restarted", "restart"),
            Self::Publish => (
                "create an image",
                "creating an image",
                "Created an image of",
                "image creation",
            ),
            Self::Transfer => (
                "copy files",
                "copying files",
                "Copied files of",
                "file copy",
            ),
            Self::Configure => ("configure", "configuring", "Configured", "configuration"),
            Self::ForwardSocket => (
                "forward a socket",
                "forwarding a socket",
                "Forwarded a socket to",
                "socket forward",
            ),
        };
        OperationLabels {
            imperative,
            participle,
            past,
            noun,
        }
    }

    /// The result in one phrase: `Restored dev to before-migration`.
    #[must_use]
    pub fn summary(self, env: &EnvName, snapshot: Option<&SnapshotName>) -> String {
        match (self, snapshot) {
            (Self::Restore, Some(snapshot)) => format!("Restored {env} to {snapshot}"),
            (Self::Snapshot, Some(snapshot)) => format!("Took snapshot {snapshot} of {env}"),
            (Self::DeleteSnapshot, Some(snapshot)) => {
                format!("Deleted snapshot {snapshot} of {env}")
            }
            _ => format!("{} {env}", self.labels().past),
        }
    }
}
