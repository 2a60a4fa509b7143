//! Undoing a restore or a removal.

pub(super) mod recovery;

use super::Operations;
use super::instances::{find, start_again};
use super::journal::JournalStep;
use super::operation::Operation;
use super::resolve::is_ours;
use super::undo_ledger::{UndoCopy, UndoEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;
use crate::project::Project;
use crate::view::OperationKind;
use recovery::Removal;

impl Operations {
    /// Undoes the newest restore or removal of an env, or of the project; returns the env. The undo of a
    /// restore keeps an undo copy itself. A removed env runs again if it ran before.
    ///
    /// # Errors
    /// `NotFound` without anything to undo; `AlreadyExists` if the name of a removed env is in use.
    pub async fn undo(&self, project: &mut Project, env: Option<&EnvName>) -> Result<EnvName> {
        // An interrupted operation may be the one to undo.
        self.recover().await?;
        let entry = self.newest(project, env).await?.ok_or_else(nothing)?;
        self.undo_entry(project, &entry).await
    }

    /// Undoes the operation of a ledger entry.
    pub(super) async fn undo_entry(
        &self,
        project: &mut Project,
        entry: &UndoEntry,
    ) -> Result<EnvName> {
        let env = entry.env.env.clone();
        match &entry.copy {
            UndoCopy::Snapshot { name } => {
                self.restore_as(project, &env, name, OperationKind::Undo, Some(&entry.id))
                    .await?;
            }
            UndoCopy::Instance { .. } => {
                let failed =
                    |error: Error| error.context(format!("cannot restore removed env `{env}`"));
                let mut operation = self
                    .begin(project, &env, OperationKind::Undo, None)
                    .await
                    .map_err(failed)?;
                operation.undoes = Some(entry.id.clone());
                let result = self.restore_removed(project, entry, &operation).await;
                self.end(operation, result.map_err(failed))?;
            }
        }
        Ok(env)
    }

    /// The newest entry whose undo copy exists; entries without one are deleted.
    async fn newest(&self, project: &Project, env: Option<&EnvName>) -> Result<Option<UndoEntry>> {
        let path = project.directory().display().to_string();
        let now = self.clock.now();
        for entry in self.ledger()? {
            let wanted = env.is_none_or(|env| entry.env.env == *env);
            if entry.env.project_path != path || entry.expires_at <= now || !wanted {
                continue;
            }
            let backend = self.backend_at(&entry.engine)?;
            let exists = match &entry.copy {
                UndoCopy::Instance { name, .. } => find(backend.as_ref(), name).await?.is_some(),
                UndoCopy::Snapshot { name } => {
                    let instance = find(backend.as_ref(), &entry.instance).await?;
                    let snapshots = instance.into_iter().flat_map(|found| found.snapshots);
                    snapshots.into_iter().any(|found| found.name == *name)
                }
            };
            if exists {
                return Ok(Some(entry));
            }
            self.delete_entry(&entry.id)?;
        }
        Ok(None)
    }

    async fn restore_removed(
        &self,
        project: &mut Project,
        entry: &UndoEntry,
        operation: &Operation,
    ) -> Result<()> {
        *project = project.reopen()?;
        let backend = self.backend_at(&entry.engine)?;
        let removal = Removal::of(entry).ok_or_else(nothing)?;
        // Another process may have undone it before we had the lock.
        if self.ledger_entry(&entry.id)?.is_none() {
            return Err(nothing());
        }
        let env = &entry.env.env;
        if self.find(&entry.instance).await?.is_some() {
            let message = format!("a new env `{env}` exists");
            return Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint(format!("remove it: `lxc-dev-manager remove {env}`")));
        }
        let instance = &entry.instance;
        let mut journal =
            self.journal(operation, backend.as_ref(), instance, removal.was_running)?;
        journal.enter(JournalStep::Committing)?;
        self.step(operation, "restoring removed env");
        match self
            .restore_from_undo_copy(project, backend.as_ref(), entry)
            .await
        {
            // The state is unknown: recovery completes it.
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                // Rename it back to the undo copy, so that the undo can be repeated.
                let found = find(backend.as_ref(), instance).await?;
                let renamed = found.is_some_and(|found| is_ours(&found, project, env));
                if !renamed || backend.rename(instance, removal.copy).await.is_ok() {
                    journal.close();
                }
                Err(error)
            }
            Ok(()) => {
                journal.enter(JournalStep::Restarting)?;
                self.step(operation, "starting instance");
                let running = if removal.was_running {
                    start_again(backend.as_ref(), instance).await
                } else {
                    Ok(())
                };
                journal.close();
                running
                    .map_err(|error| error.context("the env was restored, but cannot be started"))
            }
        }
    }
}

fn nothing() -> Error {
    Error::new(ErrorKind::NotFound, "nothing to undo")
        .with_hint("restores and removals can be undone for 3 days")
}
