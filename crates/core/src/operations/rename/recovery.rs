//! Recovery of an interrupted rename.

use std::sync::Arc;

use crate::backend::{Backend, Marks};
use crate::error::{Error, ErrorKind, Result};
use crate::forward;
use crate::operations::Operations;
use crate::operations::instances::{find, marks, restart_if_it_ran, start_again};
use crate::operations::journal::{Detail, JournalStep, OperationRecord};
use crate::operations::recovered::Recovered;
use crate::project::{Change, Project};
use crate::provision::identity;
use crate::view::EnvRef;

impl Operations {
    /// Rolls back before the first rename, completes after.
    pub(in crate::operations) async fn recover_rename(
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
            JournalStep::Committing => self.complete_rename(backend, record).await,
            JournalStep::Restarting => {
                start_again(backend.as_ref(), record.final_name()).await?;
                Ok(Recovered::Completed)
            }
        }
    }

    async fn complete_rename(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<Recovered> {
        let old = find(backend.as_ref(), &record.instance).await?;
        if old.is_none() && find(backend.as_ref(), record.final_name()).await?.is_none() {
            return Ok(Recovered::Dropped("the env is gone"));
        }
        let Some(mut project) = record.open_project()? else {
            return Ok(Recovered::Dropped("its project is gone"));
        };
        self.apply_rename(&mut project, backend, record).await?;
        if record.was_running {
            start_again(backend.as_ref(), record.final_name()).await?;
        }
        Ok(Recovered::Completed)
    }

    /// Renames the instance, its marks and host name, the ledger, forwards and file. Idempotent.
    pub(in crate::operations) async fn apply_rename(
        &self,
        project: &mut Project,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<()> {
        let Some(Detail::Renamed { env: new, instance }) = &record.detail else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the journal lacks the new name",
            ));
        };
        if find(backend.as_ref(), &record.instance).await?.is_some() {
            backend.rename(&record.instance, instance).await?;
        }
        self.move_sleep_mark(&record.instance, instance)?;
        let marks = marks(project, new, None);
        backend.set_marks(instance, &marks).await?;
        identity::set_host_name(backend.as_ref(), instance, &record.instance).await?;
        let (old, now) = (&record.env, &project.env_ref(new));
        self.rename_in_ledger(old, now, instance)?;
        self.rename_in_forwards(old, now);
        // Last: an env in the file is complete.
        if project.file().entry(new).is_none() {
            project.change(&[Change::RenameEnv {
                env: record.env.env.clone(),
                new: new.clone(),
            }])?;
        }
        Ok(())
    }

    /// Renames an env back, and starts it if it ran.
    pub(in crate::operations) async fn roll_back_rename(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<()> {
        let Some(Detail::Renamed { env, instance }) = &record.detail else {
            return Ok(());
        };
        let new = EnvRef {
            env: env.clone(),
            ..record.env.clone()
        };
        self.rename_in_ledger(&new, &record.env, &record.instance)?;
        if let Err(error) = forward::revert_rename(&self.home, &record.env, &new) {
            tracing::warn!(?error, "cannot rename forwards back");
        }
        self.move_sleep_mark(instance, &record.instance)?;
        let old = find(backend.as_ref(), &record.instance).await?;
        if old.is_none() && find(backend.as_ref(), instance).await?.is_some() {
            backend.rename(instance, &record.instance).await?;
            let marks = Marks {
                env: Some(record.env.env.clone()),
                ..find(backend.as_ref(), &record.instance)
                    .await?
                    .map(|found| found.marks)
                    .unwrap_or_default()
            };
            backend.set_marks(&record.instance, &marks).await?;
            identity::set_host_name(backend.as_ref(), &record.instance, instance).await?;
        }
        restart_if_it_ran(backend.as_ref(), record).await
    }

    /// Moves default targets and stable ports to the new name. A failure is only a notice.
    fn rename_in_forwards(&self, old: &EnvRef, new: &EnvRef) {
        if let Err(error) = forward::rename_env(&self.home, old, new) {
            let why = error.report().message;
            self.notice(format!(
                "cannot move the forwards of `{}` to `{}`: {why}",
                old.env, new.env
            ));
        }
    }
}
