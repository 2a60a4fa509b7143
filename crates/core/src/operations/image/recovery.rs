//! Recovery of an interrupted publish.

use crate::backend::Backend;
use crate::error::Result;
use crate::model::SnapshotName;
use crate::operations::instances::{delete_snapshot_if_present, find, restart_if_it_ran};
use crate::operations::journal::{JournalStep, OperationRecord};
use crate::operations::recovered::Recovered;

/// The hidden snapshot that an image is created from.
pub(in crate::operations) fn snapshot_of(record: &OperationRecord) -> SnapshotName {
    SnapshotName::undo(&record.id)
}

/// Deletes the snapshot of the image, and starts the env again if it ran. The engine creates images
/// atomically, so there is no partial one.
pub(in crate::operations) async fn recover(
    backend: &dyn Backend,
    record: &OperationRecord,
    step: JournalStep,
) -> Result<Recovered> {
    if find(backend, &record.instance).await?.is_none() {
        return Ok(Recovered::Dropped("the env is gone"));
    }
    // Later the env has been restarted, and the user may have stopped it since.
    if step == JournalStep::Preparing {
        restart_if_it_ran(backend, record).await?;
    }
    delete_snapshot_if_present(backend, &record.instance, &snapshot_of(record)).await?;
    Ok(Recovered::RolledBack)
}
