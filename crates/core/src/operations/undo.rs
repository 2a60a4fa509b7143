//! Taking back a restore or a removal.

use super::Operations;
use super::journal::JournalStep;
use super::operation::Operation;
use super::recovery::{find, start_if_stopped};
use super::resolve::is_ours;
use super::start_stop::force_stop;
use super::undo_ledger::{Entry, UndoCopy, set_autostart};
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, InstanceName};
use crate::project::Project;
use crate::view::OperationKind;

impl Operations {
    /// Takes the newest restore or removal back: of one env, or of the whole project. What was done
    /// since a restore is kept first, so an undo can itself be undone. A removed env runs again if it
    /// ran before. Returns the env.
    ///
    /// # Errors
    /// `NotFound` where there is nothing to take back, `AlreadyExists` where the name of a removed
    /// env was given away meanwhile.
    pub async fn undo(&self, project: &mut Project, env: Option<&EnvName>) -> Result<EnvName> {
        // What was interrupted comes first: it may be the very thing that is taken back.
        self.recover().await?;
        let entry = self.newest(project, env).await?.ok_or_else(nothing)?;
        self.undo_entry(project, &entry).await
    }

    /// Takes back what one entry of the ledger says.
    pub(super) async fn undo_entry(&self, project: &mut Project, entry: &Entry) -> Result<EnvName> {
        let env = entry.env.env.clone();
        match &entry.kept {
            UndoCopy::Snapshot { name } => {
                self.restore_as(project, &env, name, OperationKind::Undo, Some(&entry.id))
                    .await?;
            }
            UndoCopy::Instance { .. } => {
                let failed = |error: Error| error.context(format!("cannot bring `{env}` back"));
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

    /// The newest entry that still has what it kept; the others are struck out.
    async fn newest(&self, project: &Project, env: Option<&EnvName>) -> Result<Option<Entry>> {
        let path = project.directory().display().to_string();
        let now = self.clock.now();
        for entry in self.ledger()? {
            let wanted = env.is_none_or(|env| entry.env.env == *env);
            if entry.env.project_path != path || entry.expires_at <= now || !wanted {
                continue;
            }
            let backend = self.backend_at(&entry.engine)?;
            let kept = match &entry.kept {
                UndoCopy::Instance { name, .. } => find(backend.as_ref(), name).await?.is_some(),
                UndoCopy::Snapshot { name } => {
                    let instance = find(backend.as_ref(), &entry.instance).await?;
                    let snapshots = instance.into_iter().flat_map(|found| found.snapshots);
                    snapshots.into_iter().any(|found| found.name == *name)
                }
            };
            if kept {
                return Ok(Some(entry));
            }
            // Taken back, or deleted by the engine or its user.
            self.delete_entry(&entry.id)?;
        }
        Ok(None)
    }

    async fn restore_removed(
        &self,
        project: &mut Project,
        entry: &Entry,
        operation: &Operation,
    ) -> Result<()> {
        *project = project.fresh()?;
        let backend = self.backend_at(&entry.engine)?;
        let removal = Removal::of(entry).ok_or_else(nothing)?;
        // While we waited for the lock, somebody may have been faster.
        if self.ledger_entry(&entry.id)?.is_none() {
            return Err(nothing());
        }
        let env = &entry.env.env;
        if self.find(&entry.instance).await?.is_some() {
            let message = format!("another env is called `{env}` now");
            return Err(
                Error::new(ErrorKind::AlreadyExists, message).with_hint(format!(
                    "remove that one first: `lxc-dev-manager remove {env}`"
                )),
            );
        }
        let instance = &entry.instance;
        let mut journal =
            self.journal(operation, backend.as_ref(), instance, removal.was_running)?;
        journal.enter(JournalStep::Committing)?;
        self.step(operation, "bringing it back");
        match self
            .finish_restore_removed(project, backend.as_ref(), entry)
            .await
        {
            // How far it came is unknown: recovery finishes it.
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                // The name is free again, and what is kept can still come back.
                let there = find(backend.as_ref(), instance).await?;
                let renamed = there.is_some_and(|there| is_ours(&there, project, env));
                if !renamed || backend.rename(instance, removal.aside).await.is_ok() {
                    journal.close();
                }
                Err(error)
            }
            Ok(()) => {
                journal.enter(JournalStep::Restarting)?;
                self.step(operation, "starting it");
                let running = match removal.was_running {
                    true => start_if_stopped(backend.as_ref(), instance).await,
                    false => Ok(()),
                };
                journal.close();
                running.map_err(|error| error.context("it is back, but can't be started"))
            }
        }
    }

    /// The steps of bringing a removed env back, each of which may have been done already.
    pub(super) async fn finish_restore_removed(
        &self,
        project: &mut Project,
        backend: &dyn Backend,
        entry: &Entry,
    ) -> Result<()> {
        let Some(removal) = Removal::of(entry) else {
            return Ok(());
        };
        let renamed = match find(backend, removal.aside).await? {
            Some(aside) => {
                // Somebody may have started it.
                if aside.status.is_up() {
                    force_stop(backend, &aside).await?;
                }
                if removal.autostart {
                    set_autostart(backend, &aside, true).await?;
                }
                backend.rename(removal.aside, &entry.instance).await
            }
            None => Err(Error::new(ErrorKind::NotFound, "it was renamed before")),
        };
        // A request of a killed process may have been faster.
        if let Err(error) = renamed {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            let there = find(backend, &entry.instance).await?;
            let env = &entry.env.env;
            if !there.is_some_and(|there| is_ours(&there, project, env)) {
                let message = format!("what was kept of `{env}` is gone");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
        self.move_sleep_mark(removal.aside, &entry.instance)?;
        project.restore_env(&entry.env.env, removal.file)?;
        self.delete_entry(&entry.id)
    }
}

/// A removed env that was kept.
struct Removal<'a> {
    aside: &'a InstanceName,
    file: &'a str,
    was_running: bool,
    autostart: bool,
}

impl<'a> Removal<'a> {
    fn of(entry: &'a Entry) -> Option<Self> {
        match &entry.kept {
            UndoCopy::Instance {
                name,
                file,
                was_running,
                autostart,
            } => Some(Self {
                aside: name,
                file,
                was_running: *was_running,
                autostart: *autostart,
            }),
            UndoCopy::Snapshot { .. } => None,
        }
    }
}

fn nothing() -> Error {
    Error::new(ErrorKind::NotFound, "there is nothing to undo here")
        .with_hint("restores and removals can be undone for three days")
}
