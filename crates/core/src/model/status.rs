//! States of envs, ports and engines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum EngineKind {
    /// Canonical's LXD.
    Lxd,
    /// Incus of the Linux Containers project.
    Incus,
    /// Lima virtual machines.
    Lima,
    /// The in-memory engine of the tests.
    Fake,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lxd, Self::Incus, Self::Lima, Self::Fake];

    /// The display name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Lxd => "LXD",
            Self::Incus => "Incus",
            Self::Lima => "Lima",
            Self::Fake => "the fake engine",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// The state of an env.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum EnvStatus {
    /// Its init is running.
    Running,
    /// It exists and is not running.
    Stopped,
    /// Its processes are paused.
    Frozen,
    /// The engine reports an error.
    Error,
    /// It is in the file, but not in the engine.
    NotFound,
    /// Its engine is not reachable.
    Unreachable,
}

impl EnvStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Stopped,
        Self::Frozen,
        Self::Error,
        Self::NotFound,
        Self::Unreachable,
    ];

    /// As in "dev is …".
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Frozen => "paused",
            Self::Error => "in an error state",
            Self::NotFound => "not created yet",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether it has processes, running or frozen.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Frozen)
    }

    /// The label in lists, in upper case like the original's.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Frozen => "FROZEN",
            Self::Error => "ERROR",
            Self::NotFound => "NOT FOUND",
            Self::Unreachable => "UNREACHABLE",
        }
    }
}

/// The state of a port's forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum PortState {
    /// Configured, not forwarded now.
    Idle,
    /// We listen on the host port.
    Forwarded,
    /// Another process uses the host port.
    Taken,
    /// The engine forwards it while the env is running.
    Native,
}

impl PortState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Forwarded, Self::Taken, Self::Native];

    /// As in "port 5432 is …".
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Idle => "not forwarded",
            Self::Forwarded => "forwarded",
            Self::Taken => "in use",
            Self::Native => "forwarded by the engine",
        }
    }
}
