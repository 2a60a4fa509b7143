//! Recovery of an interrupted removal.

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{ErrorKind, Result};
use crate::model::InstanceName;
use crate::operations::Operations;
use crate::operations::instances::{find, restart_if_it_ran, set_autostart};
use crate::operations::journal::{JournalStep, OperationRecord};
use crate::operations::recovered::Recovered;
use crate::operations::undo_ledger::UndoCopy;
use crate::project::Change;

impl Operations {
    /// Rolls back before the instance was renamed or deleted, completes after.
    pub(in crate::operations) async fn recover_removal(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
        step: JournalStep,
    ) -> Result<Recovered> {
        match step {
            JournalStep::Preparing => {
                restart_if_it_ran(backend.as_ref(), record).await?;
                Ok(Recovered::RolledBack)
            }
            JournalStep::Committing | JournalStep::Restarting => {
                self.complete_removal(backend, record).await
            }
        }
    }

    async fn complete_removal(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<Recovered> {
        if find(backend.as_ref(), &record.instance).await?.is_some() {
            // Neither renamed nor deleted.
            self.roll_back_removal(backend.as_ref(), record).await?;
            return Ok(Recovered::RolledBack);
        }
        if let Some(mut project) = record.open_project()?
            && project.file().entry(&record.env.env).is_some()
        {
            let env = record.env.env.clone();
            project.change(&[Change::RemoveEnv { env }])?;
        }
        let copy = InstanceName::undo(&record.id);
        Ok(match find(backend.as_ref(), &copy).await? {
            Some(_) => {
                self.move_sleep_mark(&record.instance, &copy)?;
                Recovered::CompletedUndoable
            }
            None => {
                self.delete_sleep_mark(&record.instance)?;
                Recovered::Completed
            }
        })
    }

    /// Renames the instance back, and starts it if it ran. The ledger entry stays: a late request of the
    /// interrupted process may still rename the instance.
    pub(in crate::operations) async fn roll_back_removal(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
    ) -> Result<()> {
        let copy = InstanceName::undo(&record.id);
        for _late in 0..2 {
            if find(backend, &record.instance).await?.is_none() {
                backend.rename(&copy, &record.instance).await?;
            }
            self.move_sleep_mark(&copy, &record.instance)?;
            self.restore_autostart(backend, record).await?;
            if !record.was_running {
                break;
            }
            match backend.start(&record.instance).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::Conflict => break,
                started => {
                    started?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Turns autostart on again, which is off in undo copies.
    async fn restore_autostart(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
    ) -> Result<()> {
        let copy = self.ledger_entry(&record.id)?.map(|entry| entry.copy);
        if let Some(UndoCopy::Instance {
            autostart: true, ..
        }) = copy
            && let Some(instance) = find(backend, &record.instance).await?
        {
            set_autostart(backend, &instance, true).await?;
        }
        Ok(())
    }
}
