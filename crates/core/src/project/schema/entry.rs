//! The entry of an env, or `defaults`.

use indexmap::IndexMap;
use serde::Deserialize;

use super::null_is_default;
use crate::project::snapshots::{self, SnapshotEntry};

/// The entry of an env, or `defaults`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a map of an env's values")]
pub struct Entry {
    #[serde(default)]
    pub image: Option<String>,
    /// Ports; an empty list means none.
    #[serde(default)]
    pub ports: Option<Vec<u16>>,
    /// User in the guest.
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
    /// A script, or a script file, that runs once in the new env.
    #[serde(default)]
    pub setup: Option<String>,
    /// Mounted directories of the host; an empty list means none.
    #[serde(default)]
    pub mounts: Option<Vec<MountEntry>>,
    /// Host variables that `ssh` and `exec` pass on.
    #[serde(default)]
    pub env: Option<Vec<String>>,
    /// Whether it starts with the engine.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// Whether a connection to one of its ports starts it.
    #[serde(default)]
    pub wake: Option<bool>,
    /// Listen scope by port, if wider than loopback.
    #[serde(default)]
    pub listen: Option<IndexMap<u16, String>>,
    /// Forwarding of its ports: `ours`, or `native` by the engine.
    #[serde(default)]
    pub forwarding: Option<String>,
    /// Whether x86-64 programs run on Apple silicon.
    #[serde(default)]
    pub rosetta: Option<bool>,
    /// Snapshots, written by this program: a map, or the list of an early version.
    #[serde(default, deserialize_with = "snapshots::map_or_list")]
    pub snapshots: IndexMap<String, SnapshotEntry>,
}

/// `user:` of an env.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a map with `name` and `password`")]
pub struct UserEntry {
    #[serde(default)]
    pub name: Option<String>,
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

/// One entry of `mounts:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a map with `host` and `guest`")]
pub struct MountEntry {
    /// On the host: absolute, `~/…`, or relative to the project's directory.
    pub host: String,
    /// In the guest, absolute.
    pub guest: String,
    /// Read-only for the guest.
    #[serde(default)]
    pub readonly: bool,
    /// Allows a directory outside the project and the user's home.
    #[serde(default)]
    pub force: bool,
}
