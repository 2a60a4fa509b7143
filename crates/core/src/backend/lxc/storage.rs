//! Usage of storage pools.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Client;
use super::client::url_part;
use super::wire::{Config, Profile};
use crate::backend::Space;
use crate::error::Result;

/// Drivers whose snapshots share blocks.
pub(super) const COPY_ON_WRITE: [&str; 4] = ["btrfs", "zfs", "lvm", "ceph"];

#[derive(Deserialize)]
struct Resources {
    space: RawSpace,
}

#[derive(Deserialize)]
struct RawSpace {
    used: u64,
    total: u64,
}

/// A snapshot; the size is -1 if unknown.
#[derive(Deserialize)]
pub(super) struct SnapshotSize {
    #[serde(default)]
    size: i64,
}

impl SnapshotSize {
    pub(super) fn bytes(&self) -> Option<u64> {
        u64::try_from(self.size).ok()
    }
}

/// The pool of the root disk in a profile's devices.
pub(super) fn pool_of(devices: &BTreeMap<String, Config>) -> Option<&String> {
    let root = devices
        .values()
        .find(|device| super::wire::is_root_disk(device));
    root.and_then(|root| root.get("pool"))
}

/// The usage of a pool; `None` if the driver does not tell or the user may not ask.
pub(super) async fn space_of(client: &Client, pool: &str) -> Option<Space> {
    let path = format!("/1.0/storage-pools/{}/resources", url_part(pool));
    let Resources { space } = client.get(&path).await.ok()?;
    (space.total > 0).then_some(Space {
        used: space.used,
        total: space.total,
    })
}

pub(super) async fn pool_space(client: &Client) -> Result<Option<Space>> {
    let profile: Profile = client.get("/1.0/profiles/default").await?;
    let devices = profile.devices.unwrap_or_default();
    match pool_of(&devices) {
        Some(pool) => Ok(space_of(client, pool).await),
        None => Ok(None),
    }
}
