//! Recovery of an interrupted create or clone.

use crate::backend::{Backend, Instance};
use crate::error::Result;
use crate::model::SnapshotName;
use crate::operations::instances::{find, force_delete};
use crate::operations::journal::{Journal, JournalStep};
use crate::operations::recovered::Recovered;

/// Keeps an env that the file lists with its `initial-state`, and deletes any other that this operation
/// created.
pub(in crate::operations) async fn recover(
    backend: &dyn Backend,
    journal: &Journal,
) -> Result<Recovered> {
    let record = &journal.record;
    let Some(instance) = find(backend, &record.instance).await? else {
        return Ok(Recovered::Dropped("nothing was created"));
    };
    if !was_created_by(&instance, journal) {
        return Ok(Recovered::Dropped(
            "the instance belongs to another operation",
        ));
    }
    let initial = SnapshotName::initial_state();
    // The engine's project may forbid snapshots.
    let without_snapshots = !backend.capabilities().await?.snapshots;
    let taken = instance.snapshots.iter().any(|taken| taken.name == initial);
    // An unreadable file is an error, so that nothing is deleted.
    let registered = record.open_project()?.is_some_and(|project| {
        let entry = project.file().entry(&record.env.env);
        entry.is_some_and(|entry| {
            without_snapshots || entry.snapshots.contains_key(initial.as_str())
        })
    });
    if instance.marks.operation.is_none() && (taken || without_snapshots) && registered {
        return Ok(Recovered::Completed);
    }
    force_delete(backend, &record.instance).await?;
    Ok(Recovered::RolledBack)
}

/// Whether this operation created the instance: it has the operation's mark, or has lost it in the last
/// step and belongs to this env of this directory.
pub(in crate::operations) fn was_created_by(instance: &Instance, journal: &Journal) -> bool {
    let (marks, record) = (&instance.marks, &journal.record);
    match &marks.operation {
        Some(operation) => *operation == record.id,
        None => {
            let path = marks.path.as_ref().map(|path| path.display().to_string());
            journal.step != JournalStep::Preparing
                && path.as_deref() == Some(record.env.project_path.as_str())
                && marks.env.as_ref() == Some(&record.env.env)
        }
    }
}
