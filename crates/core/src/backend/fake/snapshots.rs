//! Snapshots of the fake engine.

use async_trait::async_trait;

use jiff::Timestamp;

use super::state::FakeSnapshot;
use super::{Fake, Pool};
use crate::backend::{Progress, Snapshots};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName, SnapshotName};

#[async_trait]
impl Snapshots for Fake {
    async fn create_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        _expires_at: Option<Timestamp>,
        _progress: &Progress,
    ) -> Result<()> {
        self.change(|| {
            let mut state = self.call("create_snapshot")?;
            if state.forbids_snapshots {
                let message = "the fake engine forbids snapshots";
                return Err(Error::new(ErrorKind::Engine, message));
            }
            let instance = state.instance_mut(name)?;
            if instance
                .snapshots
                .iter()
                .any(|known| known.name == *snapshot)
            {
                let message = format!("`{name}` already has a snapshot `{snapshot}`");
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            instance.snapshots.push(FakeSnapshot {
                name: snapshot.clone(),
                created_at: Timestamp::now(),
                files: instance.files.clone(),
                settings: instance.settings.clone(),
            });
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        _progress: &Progress,
    ) -> Result<()> {
        self.change(|| {
            let mut state = self.call("restore")?;
            let instance = state.instance_mut(name)?;
            instance.expect(name, EnvStatus::Stopped)?;
            let position = instance.position(name, snapshot)?;
            instance.files = instance.snapshots[position].files.clone();
            instance.settings = instance.snapshots[position].settings.clone();
            if self.pool == Pool::Zfs {
                instance.snapshots.truncate(position + 1);
            }
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.change(|| {
            let mut state = self.call("delete_snapshot")?;
            let instance = state.instance_mut(name)?;
            let position = instance.position(name, snapshot)?;
            instance.snapshots.remove(position);
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>> {
        let mut state = self.call("held_bytes")?;
        let instance = state.instance_mut(name)?;
        let bytes = match snapshot {
            Some(snapshot) => {
                instance.snapshot_bytes(&instance.snapshots[instance.position(name, snapshot)?])
            }
            None => instance.total_bytes(),
        };
        // Like real engines on a `dir` pool.
        Ok((self.pool != Pool::Dir).then_some(bytes))
    }
}
