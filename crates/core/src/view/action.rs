//! Actions that surfaces request.

use serde::{Deserialize, Serialize};

use super::EnvRef;
use crate::model::{GuestPort, SnapshotName};

/// A requested action; JSON between processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum Action {
    Start {
        env: EnvRef,
    },
    /// Fails with `NeedsConfirmation` while terminal sessions are open, unless forced.
    Stop {
        env: EnvRef,
        #[serde(default)]
        force: bool,
    },
    Snapshot {
        env: EnvRef,
        /// `null` creates a name from the time.
        #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
        name: Option<SnapshotName>,
        description: Option<String>,
    },
    Restore {
        env: EnvRef,
        #[cfg_attr(feature = "bindings", ts(type = "string"))]
        snapshot: SnapshotName,
    },
    /// Undo the newest restore or removal of the env.
    Undo {
        env: EnvRef,
    },
    /// Make the env the default target of one of its ports.
    Focus {
        env: EnvRef,
        #[cfg_attr(feature = "bindings", ts(type = "number"))]
        port: GuestPort,
    },
    /// Open a forwarded port in the browser.
    OpenPort {
        env: EnvRef,
        #[cfg_attr(feature = "bindings", ts(type = "number"))]
        port: GuestPort,
    },
    Terminal {
        env: EnvRef,
    },
    /// Remove the last error of the env from the view.
    Dismiss {
        env: EnvRef,
    },
}

impl Action {
    /// The env of the action.
    #[must_use]
    pub fn env(&self) -> &EnvRef {
        match self {
            Self::Start { env }
            | Self::Stop { env, .. }
            | Self::Snapshot { env, .. }
            | Self::Restore { env, .. }
            | Self::Undo { env }
            | Self::Focus { env, .. }
            | Self::OpenPort { env, .. }
            | Self::Terminal { env }
            | Self::Dismiss { env } => env,
        }
    }
}
