//! What storage pools hold.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Client;
use super::image::url_part;
use super::wire::{self, Config, Profile};
use crate::backend::Space;
use crate::error::Result;
use crate::model::{InstanceName, SnapshotName};

#[derive(Deserialize)]
struct Resources {
    space: RawSpace,
}

#[derive(Deserialize)]
struct RawSpace {
    used: u64,
    total: u64,
}

/// A snapshot; the engines write -1 for a size that they don't know.
#[derive(Deserialize)]
struct Sized {
    #[serde(default)]
    size: i64,
}

impl Sized {
    fn known(&self) -> Option<u64> {
        u64::try_from(self.size).ok()
    }
}

/// The pool of the root disk among a profile's devices.
pub(super) fn pool_of(devices: &BTreeMap<String, Config>) -> Option<&String> {
    let root = devices
        .values()
        .find(|device| device.get("path").is_some_and(|path| path == "/"));
    root.and_then(|root| root.get("pool"))
}

/// How full a pool is. Some drivers don't tell, and not everybody may ask.
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

pub(super) async fn held_bytes(
    client: &Client,
    name: &InstanceName,
    snapshot: Option<&SnapshotName>,
) -> Result<Option<u64>> {
    let path = format!("/1.0/instances/{name}");
    if let Some(snapshot) = snapshot {
        let found: Sized = client.get(&format!("{path}/snapshots/{snapshot}")).await?;
        return Ok(found.known());
    }
    let state: wire::State = client.get(&format!("{path}/state")).await?;
    let snapshots: Vec<Sized> = client.get(&format!("{path}/snapshots?recursion=1")).await?;
    let parts = snapshots.iter().map(Sized::known);
    Ok([state.into_usage().disk]
        .into_iter()
        .chain(parts)
        .flatten()
        .reduce(u64::saturating_add))
}
