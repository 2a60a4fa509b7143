//! Snapshots of instances.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Progress;
use crate::error::Result;
use crate::model::{InstanceName, SnapshotName};

/// Creates, restores and deletes snapshots.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Snapshots a running or stopped instance. The engine deletes the snapshot at `expires_at`.
    async fn create_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()>;

    /// Restores a stopped instance. Keeps our current marks.
    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()>;

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()>;

    /// Bytes that deleting a snapshot frees, or with `None` the instance and all its snapshots; `None` if not reported.
    /// On btrfs based on quotas, which may lag.
    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>>;
}
