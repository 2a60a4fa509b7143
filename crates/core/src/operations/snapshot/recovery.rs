//! Recovery of an interrupted snapshot.

use crate::backend::Backend;
use crate::error::Result;
use crate::operations::instances::{find, restart_if_it_ran};
use crate::operations::journal::OperationRecord;
use crate::operations::recovered::Recovered;
use crate::project::{Change, whole_seconds};

/// Adds the snapshot to the file if the engine has it.
pub(in crate::operations) async fn recover(
    backend: &dyn Backend,
    record: &OperationRecord,
) -> Result<Recovered> {
    let Some(snapshot) = &record.snapshot else {
        return Ok(Recovered::Dropped("the snapshot is unknown"));
    };
    let Some(instance) = find(backend, &record.instance).await? else {
        return Ok(Recovered::Dropped("the env is gone"));
    };
    // Some engines stop a running instance for a snapshot.
    restart_if_it_ran(backend, record).await?;
    let Some(taken) = instance
        .snapshots
        .iter()
        .find(|known| known.name == *snapshot)
    else {
        return Ok(Recovered::Dropped("no snapshot was taken"));
    };
    let Some(mut project) = record.open_project()? else {
        return Ok(Recovered::Dropped("its project is gone"));
    };
    let entry = project.file().entry(&record.env.env);
    if entry.is_some_and(|entry| !entry.snapshots.contains_key(snapshot.as_str())) {
        project.change(&[Change::AddSnapshot {
            env: record.env.env.clone(),
            snapshot: snapshot.clone(),
            description: None,
            created_at: whole_seconds(taken.created_at),
        }])?;
    }
    Ok(Recovered::Completed)
}
