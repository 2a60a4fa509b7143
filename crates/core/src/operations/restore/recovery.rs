//! Recovery of an interrupted restore, and of the undo of one.

use std::sync::Arc;

use crate::backend::{Backend, Progress};
use crate::error::Result;
use crate::model::SnapshotName;
use crate::operations::Operations;
use crate::operations::instances::{delete_snapshot_if_present, find, restart_if_it_ran};
use crate::operations::journal::{JournalStep, OperationRecord};
use crate::operations::recovered::Recovered;

impl Operations {
    /// Rolls back before the env was changed, completes after.
    pub(in crate::operations) async fn recover_restore(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
        step: JournalStep,
    ) -> Result<Recovered> {
        match step {
            JournalStep::Preparing => {
                self.discard_undo_copy(backend.as_ref(), record).await?;
                restart_if_it_ran(backend.as_ref(), record).await?;
                Ok(Recovered::NOTHING_CHANGED)
            }
            JournalStep::Committing => self.complete_restore(backend, record).await,
            JournalStep::Restarting => {
                self.delete_used_copy(backend.as_ref(), record).await;
                restart_if_it_ran(backend.as_ref(), record).await?;
                Ok(Recovered::Completed)
            }
        }
    }

    /// Repeats the restore of an env that is still stopped. A running env was never stopped, or has been
    /// started and perhaps used since.
    async fn complete_restore(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<Recovered> {
        let Some(instance) = find(backend.as_ref(), &record.instance).await? else {
            return Ok(Recovered::Dropped("the env is gone"));
        };
        // By the engine's own clock: ours may differ from it.
        if record.boot.is_some() && instance.started_at != record.boot {
            return Ok(Recovered::Dropped("the env was started since"));
        }
        if instance.status.is_up() {
            self.discard_undo_copy(backend.as_ref(), record).await?;
            return Ok(Recovered::NOTHING_CHANGED);
        }
        let wanted = record.snapshot.as_ref();
        let Some(snapshot) = wanted.filter(|wanted| {
            let mut known = instance.snapshots.iter();
            known.any(|known| known.name == **wanted)
        }) else {
            restart_if_it_ran(backend.as_ref(), record).await?;
            return Ok(Recovered::Dropped("the snapshot is gone"));
        };
        let restored = backend
            .restore(&record.instance, snapshot, &Progress::none())
            .await;
        // Also after a failed restore.
        restart_if_it_ran(backend.as_ref(), record).await?;
        restored?;
        self.delete_used_copy(backend.as_ref(), record).await;
        Ok(Recovered::Completed)
    }

    /// Deletes the undo copy of a restore that changed nothing.
    pub(in crate::operations) async fn discard_undo_copy(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
    ) -> Result<()> {
        let copy = SnapshotName::undo(&record.id);
        delete_snapshot_if_present(backend, &record.instance, &copy).await?;
        self.delete_entry(&record.id)
    }

    /// Deletes the undo copy that an undo has used. If that fails, it expires.
    pub(in crate::operations) async fn delete_used_copy(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
    ) {
        let (Some(undone), Some(copy)) = (&record.undoes, &record.snapshot) else {
            return;
        };
        let deleted = delete_snapshot_if_present(backend, &record.instance, copy).await;
        if let Err(error) = deleted.and_then(|()| self.delete_entry(undone)) {
            tracing::info!(id = %undone, ?error, "cannot delete a used undo copy");
        }
    }
}
