//! What stands below one env, or below `defaults`.

use indexmap::IndexMap;
use serde::Deserialize;

use super::null_is_default;
use crate::project::snapshots::{self, SnapshotEntry};

/// What stands below one env, or below `defaults`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a map of what an env has")]
pub struct Entry {
    /// Image that it is made from.
    #[serde(default)]
    pub image: Option<String>,
    /// Ports; an explicit empty list means none.
    #[serde(default)]
    pub ports: Option<Vec<u16>>,
    /// The user inside.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: UserEntry,
    /// Number of CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory, `4GiB`.
    #[serde(default)]
    pub memory: Option<String>,
    /// Size of the disk, `50GiB`.
    #[serde(default)]
    pub disk: Option<String>,
    /// `true`, `false` or `docker`.
    #[serde(default)]
    pub nesting: Option<String>,
    /// A script, or a file with one, that is run once when the env is made.
    #[serde(default)]
    pub setup: Option<String>,
    /// Directories of the host that it sees; an explicit empty list means none.
    #[serde(default)]
    pub mounts: Option<Vec<MountEntry>>,
    /// Names of the host's variables that `ssh` and `exec` hand on.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// Whether it starts with the engine.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// Whether a connection to one of its ports starts it.
    #[serde(default)]
    pub wake: Option<bool>,
    /// From where ports can be reached, by port, where that is more than from this machine.
    #[serde(default)]
    pub listen: Option<IndexMap<u16, String>>,
    /// Who forwards its ports: `ours`, or `native`, the engine.
    #[serde(default)]
    pub forwarding: Option<String>,
    /// Whether programs of x86-64 run in it on Apple silicon.
    #[serde(default)]
    pub rosetta: Option<bool>,
    /// Snapshots, written by the tool: a map, or the list of an early version.
    #[serde(default, deserialize_with = "snapshots::either_form")]
    pub snapshots: IndexMap<String, SnapshotEntry>,
}

/// `user:` of an env.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a map with `name` and `password`")]
pub struct UserEntry {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<String>,
}

impl std::fmt::Debug for UserEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("UserEntry")
            .field("name", &self.name)
            .field("password", &password)
            .finish()
    }
}

/// One of `mounts:` of an env.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a map with `host` and `guest`")]
pub struct MountEntry {
    /// On the host: absolute, below `~`, or relative to the project's directory.
    pub host: String,
    /// In the guest, absolute.
    pub guest: String,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub readonly: bool,
    /// Whether it may lie outside of the project and of the user's home.
    #[serde(default)]
    pub force: bool,
}
