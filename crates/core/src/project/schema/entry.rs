//! The entry of an env, or `defaults`. The fields' docs are the descriptions in the JSON schema and in
//! docs/containers-yaml.md (`make types`).

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{json, null_is_default};
use crate::project::snapshots::{self, SnapshotEntry};

/// Values of one env, or defaults of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(expecting = "a map of an env's values")]
#[schemars(rename = "env")]
pub struct Entry {
    /// Source of `container create`: an alias of the engine, `remote:alias`, or a name such as `debian:12`.
    #[serde(default)]
    #[schemars(schema_with = "json::text")]
    pub image: Option<String>,
    /// Ports to forward, without duplicates. An empty list means none.
    #[serde(default)]
    #[schemars(inner(range(min = 1)), extend("uniqueItems" = true, "default" = super::merged::DEFAULT_PORTS))]
    pub ports: Option<Vec<u16>>,
    /// The user in the env.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schemars(with = "Option<UserEntry>")]
    pub user: UserEntry,
    /// Number of CPUs.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub cpus: Option<u32>,
    /// Memory: `512MiB`, `4GiB`, `2GB`, or bytes.
    #[serde(default)]
    #[schemars(schema_with = "json::size")]
    pub memory: Option<String>,
    /// Size of the disk: `50GiB`, or bytes.
    #[serde(default)]
    #[schemars(schema_with = "json::size")]
    pub disk: Option<String>,
    /// Whether containers may run in the env (`security.nesting`, interception of mknod and setxattr). `docker` also
    /// installs Docker.
    #[serde(default)]
    #[schemars(schema_with = "json::nesting", extend("default" = true))]
    pub nesting: Option<String>,
    /// A script, or the path of one in the project, that runs once as the env's user at creation.
    #[serde(default)]
    #[schemars(schema_with = "json::text")]
    pub setup: Option<String>,
    /// Directories of the host that the env sees. An empty list means none.
    #[serde(default)]
    pub mounts: Option<Vec<MountEntry>>,
    /// `writable`: in a writable mount the env may also change `.git/hooks` and `.git/config`, which name programs that
    /// Git runs on the host.
    #[serde(default)]
    #[schemars(schema_with = "json::git", extend("default" = "protected"))]
    pub git: Option<String>,
    /// Environment variables of the host that `ssh` and `exec` pass on, if set.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$")))]
    pub env: Option<Vec<String>>,
    /// Whether the env starts with the engine. Not supported with Lima.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub autostart: Option<bool>,
    /// Whether a connection to a forwarded port starts the env. After `down` only `up` starts it.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub wake: Option<bool>,
    /// Addresses of forwarded ports, if not only loopback: `{8000: everywhere}`, or an address of the host.
    #[serde(default)]
    #[schemars(schema_with = "json::listen")]
    pub listen: Option<IndexMap<u16, String>>,
    /// Other hostnames that forwarded ports answer to: `[shop.test]`. Without them a port answers to addresses,
    /// `localhost` and `*.localhost` only.
    #[serde(default)]
    #[schemars(inner(regex(pattern = "^[a-z0-9_-]+([.][a-z0-9_-]+)*$")))]
    pub hosts: Option<Vec<String>>,
    /// `native`: Lima forwards the ports of the env, without this program. Such a port cannot be shared. Other engines
    /// ignore it.
    #[serde(default)]
    #[schemars(schema_with = "json::forwarding", extend("default" = "ours"))]
    pub forwarding: Option<String>,
    /// Whether x86-64 programs run on Apple silicon. Ignored elsewhere.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub rosetta: Option<bool>,
    /// Descriptions and times, written by the program. The engine decides whether a snapshot exists.
    #[serde(default, deserialize_with = "snapshots::map_or_list")]
    #[schemars(with = "snapshots::MapOrListSchema")]
    pub snapshots: IndexMap<String, SnapshotEntry>,
}

/// `user:` of an env.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(expecting = "a map with `name` and `password`")]
#[schemars(rename = "user", extend("type" = ["object", "null"]))]
pub struct UserEntry {
    /// The user in the env: 1 to 32 lower-case letters, digits, `-` and `_`.
    #[serde(default)]
    #[schemars(regex(pattern = "^[a-z_][a-z0-9_-]{0,31}$"), extend("default" = "dev"))]
    pub name: Option<String>,
    /// Its password, at most 200 bytes. SSH login by password is enabled only if the file sets it.
    #[serde(default)]
    #[schemars(schema_with = "json::password", extend("default" = "dev"))]
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(expecting = "a map with `host` and `guest`")]
#[schemars(rename = "mount")]
pub struct MountEntry {
    /// A directory of the host: absolute, below `~`, or relative to the project's directory.
    #[schemars(schema_with = "json::text")]
    pub host: String,
    /// Its path in the env, absolute.
    #[schemars(regex(pattern = "^/+[^/]"))]
    pub guest: String,
    /// Whether the env may only read it.
    #[serde(default)]
    pub readonly: bool,
}
