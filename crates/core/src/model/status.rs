//! States of envs, ports and engines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which kind of engine holds an env.
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
    /// The name as people write it.
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

/// What an env is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum EnvStatus {
    /// Its init runs.
    Running,
    /// It exists and doesn't run.
    Stopped,
    /// Its processes are frozen (paused).
    Frozen,
    /// The engine says that it is broken.
    Error,
    /// The file names it, the engine doesn't have it.
    NotFound,
    /// Its engine can't be asked.
    Unreachable,
}

impl EnvStatus {
    /// Whether it has processes, running or frozen.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Frozen)
    }

    /// The word in lists, upper case as the original's.
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

/// What a forward of one port is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum PortState {
    /// Configured, nobody forwards it now.
    Idle,
    /// A listener of ours stands on the host.
    Forwarded,
    /// A stranger has the host port.
    Taken,
    /// The engine itself forwards it while the env runs.
    Native,
}
