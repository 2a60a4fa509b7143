//! Setting an env back to a snapshot.

use super::Operations;
use super::journal::{Journal, JournalStep, OperationRecord};
use super::operation::Operation;
use super::recovery::{restart, start_if_stopped};
use super::resolve::ResolvedEnv;
use super::start_stop::force_stop;
use super::undo_limit::UndoPolicy;
use crate::backend::{Backend, InstanceSnapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, OperationId, SnapshotName};
use crate::project::Project;
use crate::view::OperationKind;

/// An env that was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// It ran before, and runs again.
    pub running: bool,
    /// What it was before is kept, so that it can be taken back.
    pub undoable: bool,
}

impl Operations {
    /// Sets an env back to a snapshot. What it is now is kept for `undo` where that costs next to
    /// nothing. A running env runs again after, a stopped one stays stopped.
    ///
    /// # Errors
    /// `NotFound` for a snapshot that isn't there, naming those that are; the engine's.
    pub async fn restore(
        &self,
        project: &Project,
        env: &EnvName,
        snapshot: &SnapshotName,
    ) -> Result<Restored> {
        self.restore_as(project, env, snapshot, OperationKind::Restore, None)
            .await
    }

    /// Whether what an env is now would be kept by a restore.
    ///
    /// # Errors
    /// Those of finding it.
    pub async fn restore_keeps(&self, project: &Project, env: &EnvName) -> Result<UndoPolicy> {
        let resolved = self.resolve(project, env).await?;
        let capabilities = resolved.backend.capabilities().await?;
        let undo = self.preferences()?.undo;
        Ok(UndoPolicy::of_restore(&capabilities, &undo))
    }

    pub(super) async fn restore_as(
        &self,
        project: &Project,
        env: &EnvName,
        snapshot: &SnapshotName,
        kind: OperationKind,
        undoes: Option<&OperationId>,
    ) -> Result<Restored> {
        let failed =
            |error: Error| error.context(format!("cannot restore `{env}` to `{snapshot}`"));
        let mut operation = self
            .begin(project, env, kind, Some(snapshot))
            .await
            .map_err(failed)?;
        operation.undoes = undoes.cloned();
        let result = self.restore_steps(project, env, &operation, snapshot).await;
        operation.undoable = result.as_ref().is_ok_and(|restored| restored.undoable);
        self.end(operation, result.map_err(failed))
    }

    async fn restore_steps(
        &self,
        project: &Project,
        env: &EnvName,
        operation: &Operation,
        snapshot: &SnapshotName,
    ) -> Result<Restored> {
        let project = &project.fresh()?;
        let resolved = self.resolve(project, env).await?;
        let ResolvedEnv { backend, instance } = &resolved;
        resolved.expect_snapshot(env, snapshot)?;
        let capabilities = backend.capabilities().await?;
        if !capabilities.restore_keeps_later_snapshots {
            expect_newest(env, &instance.snapshots, snapshot)?;
        }
        let running = instance.status.is_up();
        let undo = self.preferences()?.undo;
        let undoable = UndoPolicy::of_restore(&capabilities, &undo) == UndoPolicy::Keep;
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, running)?;
        let kept = async {
            if running {
                self.step(operation, "stopping it");
                // A container's files are the host's: what its processes would still write is about to go anyway. A
                // virtual machine has written data of its own in memory, which what is kept should have.
                match capabilities.snapshots_running || !undoable {
                    true => force_stop(backend.as_ref(), instance).await?,
                    false => self.stop_or_kill(backend.as_ref(), instance).await?,
                }
            }
            if undoable {
                // Once it is stopped: nothing is written meanwhile, and some engines stop it for a snapshot.
                self.step(operation, "keeping what it is now");
                self.take_undo_copy(operation, &resolved).await?;
            }
            journal.enter(JournalStep::Committing)
        };
        if let Err(error) = kept.await {
            // Nothing was changed yet. Where a copy may have been made all the same, recovery looks.
            if !error.is_uncertain() {
                self.roll_back_restore(backend.as_ref(), journal).await;
            }
            return Err(error);
        }
        match self
            .restore_and_start(operation, &resolved, snapshot, &mut journal)
            .await
        {
            // How far it came is unknown: recovery finishes it.
            Err(error) if error.is_uncertain() => return Err(error),
            done => {
                if done.is_ok() {
                    self.delete_used_copy(backend.as_ref(), &journal.record)
                        .await;
                }
                journal.close();
                done?;
            }
        }
        if undoable {
            self.enforce_undo_limit(Some(&instance.name)).await;
        }
        Ok(Restored { running, undoable })
    }

    async fn restore_and_start(
        &self,
        operation: &Operation,
        resolved: &ResolvedEnv,
        snapshot: &SnapshotName,
        journal: &mut Journal,
    ) -> Result<()> {
        let ResolvedEnv { backend, instance } = resolved;
        self.step(operation, "restoring");
        let progress = self.progress(operation);
        let restored = backend.restore(&instance.name, snapshot, &progress).await;
        if restored.as_ref().is_err_and(Error::is_uncertain) {
            return restored;
        }
        if journal.record.was_running {
            // Also where restoring failed: it ran before.
            journal.enter(JournalStep::Restarting)?;
            self.step(operation, "starting it");
            start_if_stopped(backend.as_ref(), &instance.name).await?;
        }
        restored
    }

    /// Has an env as it was before anything was changed; where that fails, recovery does it.
    async fn roll_back_restore(&self, backend: &dyn Backend, journal: Journal) {
        let given_up = async {
            self.discard_copy(backend, &journal.record).await?;
            restart(backend, &journal.record).await
        };
        match given_up.await {
            Ok(()) => journal.close(),
            Err(error) => tracing::warn!(?error, "a restore that failed is given up later"),
        }
    }

    /// Gives up the copy that an undo has used. What fails here costs a little space for three days.
    pub(super) async fn delete_used_copy(&self, backend: &dyn Backend, record: &OperationRecord) {
        let (Some(undone), Some(copy)) = (&record.undoes, &record.snapshot) else {
            return;
        };
        let deleted = match backend.delete_snapshot(&record.instance, copy).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            deleted => deleted,
        };
        if let Err(error) = deleted.and_then(|()| self.delete_entry(undone)) {
            tracing::info!(id = %undone, ?error, "a used copy stays");
        }
    }
}

/// Refuses to go back beyond other snapshots where that would delete them: nobody has said that they may
/// go.
fn expect_newest(
    env: &EnvName,
    snapshots: &[InstanceSnapshot],
    wanted: &SnapshotName,
) -> Result<()> {
    let behind = snapshots
        .iter()
        .rev()
        .take_while(|known| known.name != *wanted);
    let mut later: Vec<String> = behind.map(|known| format!("`{}`", known.name)).collect();
    later.reverse();
    if later.is_empty() {
        return Ok(());
    }
    let message = format!(
        "on this storage pool that would delete the later {}",
        later.join(", ")
    );
    Err(Error::new(ErrorKind::Conflict, message).with_hint(format!(
        "delete them first: `lxc-dev-manager container snapshot delete {env} NAME`; or make a copy of \
         `{wanted}`: `lxc-dev-manager container clone {env} NEW -s {wanted}`"
    )))
}
