//! Snapshots over the REST API.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::storage::SnapshotSize;
use super::{LxcBackend, retry, wire};
use crate::backend::{Instances, Ports, Progress, Snapshots};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName, SnapshotName};

#[async_trait]
impl Snapshots for LxcBackend {
    async fn create_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        _progress: &Progress,
    ) -> Result<()> {
        let mut body = json!({ "name": snapshot, "stateful": false });
        if let Some(at) = expires_at {
            body["expires_at"] = json!(at);
        }
        let path = format!("/1.0/instances/{name}/snapshots");
        retry::on_vanished_file(|| self.client.change("POST", &path, &body)).await
    }

    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        _progress: &Progress,
    ) -> Result<()> {
        let client = &self.client;
        let before = self.instance(name).await?;
        if before.status == EnvStatus::Running {
            let message = format!("instance `{name}` is running");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        if !before.snapshots.iter().any(|known| known.name == *snapshot) {
            let message = format!("`{name}` has no snapshot `{snapshot}`");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let body = json!({ "restore": snapshot });
        client
            .change("PUT", &format!("/1.0/instances/{name}"), &body)
            .await?;
        // The snapshot's config includes old marks and socket forwards.
        self.set_marks(name, &before.marks).await?;
        self.end_socket_forwards(name).await
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let path = format!("/1.0/instances/{name}/snapshots/{snapshot}");
        self.client.change("DELETE", &path, &json!({})).await
    }

    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>> {
        let client = &self.client;
        let path = format!("/1.0/instances/{name}");
        if let Some(snapshot) = snapshot {
            let size: SnapshotSize = client.get(&format!("{path}/snapshots/{snapshot}")).await?;
            return Ok(size.bytes());
        }
        let state: wire::State = client.get(&format!("{path}/state")).await?;
        let snapshots: Vec<SnapshotSize> = client
            .list(&format!("{path}/snapshots?recursion=1"))
            .await?;
        let sizes = snapshots.iter().map(SnapshotSize::bytes);
        Ok([state.into_usage().disk]
            .into_iter()
            .chain(sizes)
            .flatten()
            .reduce(u64::saturating_add))
    }
}
