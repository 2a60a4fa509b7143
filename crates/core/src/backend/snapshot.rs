//! Snapshots of instances.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Progress;
use crate::error::Result;
use crate::model::{InstanceName, SnapshotName};

/// Snapshots of instances.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Takes a snapshot, running or not. The engine itself deletes it at `expires_at`.
    async fn create_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()>;

    /// Sets a stopped instance back to one of its snapshots. Our marks stay as they were before.
    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()>;

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// `NotFound`; those of the engine.
    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()>;

    /// Bytes that would be free again without one of an instance's snapshots, or without the instance
    /// and all of these; `None` where the engine doesn't tell. On btrfs the engines ask for quotas,
    /// which may lag behind.
    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>>;
}
