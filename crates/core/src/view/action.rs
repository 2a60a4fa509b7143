//! What surfaces ask for.

use serde::{Deserialize, Serialize};

use super::EnvRef;
use crate::model::{GuestPort, SnapshotName};

/// What a surface asks to be done. The surfaces that live in other processes send it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum Action {
    /// Start an env.
    Start {
        /// Which.
        env: EnvRef,
    },
    /// Stop an env; refused with `NeedsConfirmation` while terminal sessions of ours are open in it.
    Stop {
        /// Which.
        env: EnvRef,
    },
    /// Stop an env though terminal sessions are open in it.
    StopAnyway {
        /// Which.
        env: EnvRef,
    },
    /// Take a snapshot; without a name, one made of the time.
    Snapshot {
        /// Of which env.
        env: EnvRef,
        /// Its name.
        #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
        name: Option<SnapshotName>,
        /// A line about it.
        description: Option<String>,
    },
    /// Set an env back to a snapshot.
    Restore {
        /// Which env.
        env: EnvRef,
        /// To which snapshot.
        #[cfg_attr(feature = "bindings", ts(type = "string"))]
        snapshot: SnapshotName,
    },
    /// Take the newest restore or removal of this env back.
    Undo {
        /// Which env.
        env: EnvRef,
    },
    /// Let an env have what comes to one of its ports and names nobody.
    Focus {
        /// Which env.
        env: EnvRef,
        /// Which port.
        #[cfg_attr(feature = "bindings", ts(type = "number"))]
        port: GuestPort,
    },
    /// Open a forwarded port in the browser.
    OpenPort {
        /// Of which env.
        env: EnvRef,
        /// Which.
        #[cfg_attr(feature = "bindings", ts(type = "number"))]
        port: GuestPort,
    },
    /// Open a terminal in an env.
    Terminal {
        /// Which.
        env: EnvRef,
    },
    /// The user has seen what went wrong.
    Dismiss {
        /// On which env.
        env: EnvRef,
    },
}

impl Action {
    /// The env that it is about.
    #[must_use]
    pub fn env(&self) -> &EnvRef {
        match self {
            Self::Start { env }
            | Self::Stop { env }
            | Self::StopAnyway { env }
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
