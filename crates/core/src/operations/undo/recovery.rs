//! Recovery of an interrupted undo of a removal.

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;
use crate::operations::Operations;
use crate::operations::instances::{find, force_stop, restart_if_it_ran, set_autostart};
use crate::operations::journal::{JournalStep, OperationRecord};
use crate::operations::recovered::Recovered;
use crate::operations::resolve::is_ours;
use crate::operations::undo_ledger::{UndoCopy, UndoEntry};
use crate::project::Project;

impl Operations {
    /// Completes the undo of a removal; the undo of a restore recovers as a restore.
    pub(in crate::operations) async fn recover_undo(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
        step: JournalStep,
    ) -> Result<Recovered> {
        if step == JournalStep::Committing && record.snapshot.is_none() {
            return self.complete_undo_of_removal(backend, record).await;
        }
        self.recover_restore(backend, record, step).await
    }

    async fn complete_undo_of_removal(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<Recovered> {
        let entry = match &record.undoes {
            Some(id) => self.ledger_entry(id)?,
            None => None,
        };
        if let Some(entry) = entry {
            let Some(mut project) = record.open_project()? else {
                return Ok(Recovered::Dropped("its project is gone"));
            };
            self.restore_from_undo_copy(&mut project, backend.as_ref(), &entry)
                .await?;
        }
        restart_if_it_ran(backend.as_ref(), record).await?;
        Ok(Recovered::Completed)
    }

    /// Restores a removed env's name, autostart and file entry. Idempotent.
    pub(in crate::operations) async fn restore_from_undo_copy(
        &self,
        project: &mut Project,
        backend: &dyn Backend,
        entry: &UndoEntry,
    ) -> Result<()> {
        let Some(removal) = Removal::of(entry) else {
            return Ok(());
        };
        let renamed = match find(backend, removal.copy).await? {
            Some(copy) => {
                // The user may have started it.
                if copy.status.is_up() {
                    force_stop(backend, &copy).await?;
                }
                if removal.autostart {
                    set_autostart(backend, &copy, true).await?;
                }
                backend.rename(removal.copy, &entry.instance).await
            }
            None => Err(Error::new(ErrorKind::NotFound, "already renamed")),
        };
        // A late request of the interrupted process may have renamed it.
        if let Err(error) = renamed {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            let found = find(backend, &entry.instance).await?;
            let env = &entry.env.env;
            if !found.is_some_and(|found| is_ours(&found, project, env)) {
                let message = format!("the undo copy of `{env}` is gone");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
        self.move_sleep_mark(removal.copy, &entry.instance)?;
        project.restore_env(&entry.env.env, removal.file)?;
        self.delete_entry(&entry.id)
    }
}

/// The undo copy of a removed env.
pub(in crate::operations) struct Removal<'a> {
    pub(in crate::operations) copy: &'a InstanceName,
    file: &'a str,
    pub(in crate::operations) was_running: bool,
    autostart: bool,
}

impl<'a> Removal<'a> {
    pub(in crate::operations) fn of(entry: &'a UndoEntry) -> Option<Self> {
        match &entry.copy {
            UndoCopy::Instance {
                name,
                file,
                was_running,
                autostart,
            } => Some(Self {
                copy: name,
                file,
                was_running: *was_running,
                autostart: *autostart,
            }),
            UndoCopy::Snapshot { .. } => None,
        }
    }
}
