//! Removing an env.

use super::Operations;
use super::create::force_delete;
use super::journal::{Detail, Journal, JournalStep, OperationRecord};
use super::operation::Operation;
use super::recovery::find;
use super::resolve::ResolvedEnv;
use super::start_stop::force_stop;
use super::undo_ledger::{UndoCopy, set_autostart};
use super::undo_limit::UndoPolicy;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, InstanceName, OperationId};
use crate::project::{Change, Project};
use crate::view::OperationKind;

/// What is left of a removed env.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removed {
    /// All of it, for `undo` of this operation.
    Undoable(OperationId),
    /// Nothing.
    Deleted,
    /// There was only its entry in the file.
    EntryOnly,
}

impl Operations {
    /// Removes an env, and says what is kept of it.
    pub(super) async fn remove_env(&self, project: &mut Project, env: &EnvName) -> Result<Removed> {
        let failed = |error: Error| error.context(format!("cannot remove `{env}`"));
        let mut operation = self
            .begin(project, env, OperationKind::Remove, None)
            .await
            .map_err(failed)?;
        let result = self.remove_steps(project, env, &operation).await;
        operation.undoable = matches!(result, Ok(Removed::Undoable(_)));
        self.end(operation, result.map_err(failed))
    }

    /// Removes an env from the engine and the file. Where copies are cheap it is kept under another
    /// name for `undo`; returns whether it is. One that only the file names loses its entry.
    ///
    /// # Errors
    /// `NotOurs` where the instance is somebody else's or another checkout made it.
    pub async fn remove(&self, project: &mut Project, env: &EnvName) -> Result<bool> {
        let removed = self.remove_env(project, env).await?;
        Ok(matches!(removed, Removed::Undoable(_)))
    }

    /// Whether an env is kept when it is removed.
    ///
    /// # Errors
    /// Those of finding it.
    pub async fn removal_keeps(&self, project: &Project, env: &EnvName) -> Result<UndoPolicy> {
        let resolved = self.resolve(project, env).await?;
        self.keeping(resolved.backend.as_ref()).await
    }

    async fn keeping(&self, backend: &dyn Backend) -> Result<UndoPolicy> {
        let undo = self.preferences()?.undo;
        Ok(UndoPolicy::of_removal(
            &backend.capabilities().await?,
            &undo,
        ))
    }

    async fn remove_steps(
        &self,
        project: &mut Project,
        env: &EnvName,
        operation: &Operation,
    ) -> Result<Removed> {
        *project = project.fresh()?;
        let resolved = match self.resolve(project, env).await {
            Ok(resolved) => resolved,
            Err(error)
                if error.kind() == ErrorKind::NotFound && project.file().entry(env).is_some() =>
            {
                self.delete_sleep_mark(&project.instance(env)?)?;
                project.change(&[Change::RemoveEnv { env: env.clone() }])?;
                return Ok(Removed::EntryOnly);
            }
            Err(error) => return Err(error),
        };
        resolved.expect_own_checkout(project)?;
        let change = [Change::RemoveEnv { env: env.clone() }];
        project.check(&change)?;
        let ResolvedEnv { backend, instance } = &resolved;
        let undoable = self.keeping(backend.as_ref()).await? == UndoPolicy::Keep;
        let was_running = instance.status.is_up();
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, was_running)?;
        match self
            .take_away(project, &resolved, operation, &mut journal, undoable)
            .await
        {
            Ok(()) => {
                journal.close();
                self.discard_staged(&instance.name);
                if undoable {
                    self.enforce_undo_limit(Some(&instance.name)).await;
                }
                Ok(match undoable {
                    true => Removed::Undoable(operation.id.clone()),
                    false => Removed::Deleted,
                })
            }
            // How far it came is unknown: recovery finishes it, or takes it back.
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                match self.undo_removal(backend.as_ref(), &journal.record).await {
                    Ok(()) => journal.close(),
                    Err(error) => tracing::warn!(?error, "a removal could not be taken back"),
                }
                Err(error)
            }
        }
    }

    async fn take_away(
        &self,
        project: &mut Project,
        resolved: &ResolvedEnv,
        operation: &Operation,
        journal: &mut Journal,
        undoable: bool,
    ) -> Result<()> {
        let ResolvedEnv { backend, instance } = resolved;
        let was_running = journal.record.was_running;
        if was_running {
            self.step(operation, "stopping it");
            // Gently where it is kept: what is taken back should be whole.
            match undoable {
                true => self.stop_or_kill(backend.as_ref(), instance).await?,
                false => force_stop(backend.as_ref(), instance).await?,
            }
        }
        journal.enter(JournalStep::Committing)?;
        if undoable {
            self.step(operation, "keeping it for undo");
            let before = project.text()?;
            self.move_aside(&operation.operation_ref(), resolved, &before, was_running)
                .await?;
        } else {
            self.step(operation, "deleting it");
            force_delete(backend.as_ref(), &instance.name).await?;
            self.delete_sleep_mark(&instance.name)?;
        }
        let env = journal.record.env.env.clone();
        project.change(&[Change::RemoveEnv { env }])
    }

    /// Files that were on their way into an env when that was killed wait until it runs, which it doesn't
    /// any more. What there is of them stays in it.
    fn discard_staged(&self, instance: &InstanceName) {
        for journal in Journal::of(&self.home, instance).unwrap_or_default() {
            let record = &journal.record;
            let Some(Detail::IntoGuest { target, .. }) = &record.detail else {
                continue;
            };
            let (noun, env) = (record.kind.noun(), &record.env.env);
            self.notice(format!(
                "an interrupted {noun} of `{env}` was dropped with it: {target} never got there"
            ));
            journal.close();
        }
    }

    /// Takes a removal back that didn't come to its end: the instance has its name again, and runs
    /// if it ran before. A request of a killed process may still reach the engine after we have
    /// looked; so the ledger keeps its line, which finds the instance in any case.
    pub(super) async fn undo_removal(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
    ) -> Result<()> {
        let aside = InstanceName::undo(&record.id);
        for _late in 0..2 {
            if find(backend, &record.instance).await?.is_none() {
                backend.rename(&aside, &record.instance).await?;
            }
            self.move_sleep_mark(&aside, &record.instance)?;
            self.autostart_again(backend, record).await?;
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

    /// What was not to be started with the engine while it was set aside is so again.
    async fn autostart_again(&self, backend: &dyn Backend, record: &OperationRecord) -> Result<()> {
        let entry = self.ledger_entry(&record.id)?;
        let kept = entry.map(|entry| entry.kept);
        if let Some(UndoCopy::Instance {
            autostart: true, ..
        }) = kept
            && let Some(instance) = find(backend, &record.instance).await?
        {
            set_autostart(backend, &instance, true).await?;
        }
        Ok(())
    }
}
