//! Removing an env.

mod recovery;

use super::Operations;
use super::instances::{force_delete, force_stop, set_autostart};
use super::journal::{Detail, Journal, JournalStep};
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use super::undo_ledger::{OperationRef, UndoCopy};
use super::undo_limit::UndoPolicy;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, InstanceName, OperationId};
use crate::project::{Change, Project};
use crate::view::OperationKind;

/// The result of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removed {
    /// The undo copy of this operation is kept.
    Undoable(OperationId),
    Deleted,
    /// There was only an entry in the file.
    EntryOnly,
}

impl Operations {
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

    /// Removes an env from the engine and the file; returns whether it can be undone.
    ///
    /// # Errors
    /// `NotOurs` for an instance of another project or checkout; those of the engine.
    pub async fn remove(&self, project: &mut Project, env: &EnvName) -> Result<bool> {
        let removed = self.remove_env(project, env).await?;
        Ok(matches!(removed, Removed::Undoable(_)))
    }

    /// Whether a removal of the env keeps an undo copy.
    ///
    /// # Errors
    /// Those of finding the env.
    pub async fn removal_undo_policy(
        &self,
        project: &Project,
        env: &EnvName,
    ) -> Result<UndoPolicy> {
        let resolved = self.resolve(project, env).await?;
        self.undo_policy_of_removal(resolved.backend.as_ref()).await
    }

    async fn undo_policy_of_removal(&self, backend: &dyn Backend) -> Result<UndoPolicy> {
        let undo = self.preferences()?.undo;
        Ok(UndoPolicy::for_removal(
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
        *project = project.reopen()?;
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
        resolved.ensure_own_checkout(project)?;
        let change = [Change::RemoveEnv { env: env.clone() }];
        project.check(&change)?;
        let ResolvedEnv { backend, instance } = &resolved;
        let undoable = self.undo_policy_of_removal(backend.as_ref()).await? == UndoPolicy::Keep;
        let was_running = instance.status.is_up();
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, was_running)?;
        match self
            .remove_instance(project, &resolved, operation, &mut journal, undoable)
            .await
        {
            Ok(()) => {
                journal.close();
                self.discard_staged(&instance.name);
                if undoable {
                    self.enforce_undo_limit(Some(&instance.name)).await;
                }
                Ok(if undoable {
                    Removed::Undoable(operation.id.clone())
                } else {
                    Removed::Deleted
                })
            }
            // The state is unknown: recovery completes it or rolls it back.
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                match self
                    .roll_back_removal(backend.as_ref(), &journal.record)
                    .await
                {
                    Ok(()) => journal.close(),
                    Err(error) => tracing::warn!(?error, "cannot roll back a removal"),
                }
                Err(error)
            }
        }
    }

    async fn remove_instance(
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
            self.step(operation, "stopping instance");
            // An undo copy should be consistent; other instances are deleted anyway.
            if undoable {
                self.stop_or_kill(backend.as_ref(), instance).await?
            } else {
                force_stop(backend.as_ref(), instance).await?
            }
        }
        journal.enter(JournalStep::Committing)?;
        if undoable {
            self.step(operation, "keeping undo copy");
            let before = project.text()?;
            self.keep_as_undo_copy(&operation.operation_ref(), resolved, &before, was_running)
                .await?;
        } else {
            self.step(operation, "deleting instance");
            force_delete(backend.as_ref(), &instance.name).await?;
            self.delete_sleep_mark(&instance.name)?;
        }
        let env = journal.record.env.env.clone();
        project.change(&[Change::RemoveEnv { env }])
    }

    /// Drops the journals of copies into a removed env, which wait until it runs.
    fn discard_staged(&self, instance: &InstanceName) {
        for journal in Journal::for_instance(&self.home, instance).unwrap_or_default() {
            let record = &journal.record;
            let Some(Detail::ToGuest { target, .. }) = &record.detail else {
                continue;
            };
            let (noun, env) = (record.kind.labels().noun, &record.env.env);
            self.notice(format!(
                "an interrupted {noun} of `{env}` was dropped: {target} was not copied"
            ));
            journal.close();
        }
    }

    /// Keeps a stopped env as an undo copy, under another name.
    pub(super) async fn keep_as_undo_copy(
        &self,
        operation_ref: &OperationRef<'_>,
        resolved: &ResolvedEnv,
        file: &str,
        was_running: bool,
    ) -> Result<()> {
        let name = InstanceName::undo(operation_ref.id);
        // Before the rename: an instance without an entry would never be deleted.
        let copy = UndoCopy::Instance {
            name: name.clone(),
            file: file.to_owned(),
            was_running,
            autostart: resolved.instance.settings.autostart,
        };
        self.write_entry(operation_ref, resolved, copy)?;
        let (backend, instance) = (&resolved.backend, &resolved.instance);
        backend.end_socket_forwards(&instance.name).await?;
        if instance.settings.autostart {
            set_autostart(backend.as_ref(), instance, false).await?;
        }
        backend.rename(&instance.name, &name).await?;
        self.move_sleep_mark(&instance.name, &name)
    }
}
