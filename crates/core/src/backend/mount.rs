//! Files of the host in a guest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A directory of the host, mounted in a guest; with [`bind_mounts`](super::Capabilities::bind_mounts) also a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute.
    pub host: PathBuf,
    /// Absolute.
    pub guest: PathBuf,
    pub readonly: bool,
}

impl Mount {
    /// Whether another mount covers a part of this one, so that a guest can replace its parents.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let is_below = |path: &PathBuf, of: &PathBuf| path != of && path.starts_with(of);
        !self.readonly && (is_below(&other.guest, &self.guest) || is_below(&other.host, &self.host))
    }
}

/// The mounts that are in no other writable one.
#[must_use]
pub fn outermost(mounts: &[Mount]) -> Vec<Mount> {
    let is_inner = |mount: &&Mount| mounts.iter().any(|other| other.contains(mount));
    mounts
        .iter()
        .filter(|mount| !is_inner(mount))
        .cloned()
        .collect()
}

/// A user or group of the host, and what it is in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdPair {
    pub host: u32,
    pub guest: u32,
}

/// The user that owns a mount's files on the host, and in the guest. The other users of the guest, also its root, are no
/// users of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountOwner {
    pub user: IdPair,
    /// `None` keeps the host's group out of the guest.
    pub group: Option<IdPair>,
}
