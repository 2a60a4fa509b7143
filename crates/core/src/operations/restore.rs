//! Restoring an env to a snapshot.

mod recovery;

use super::Operations;
use super::instances::{force_stop, ignore_conflict, restart_if_it_ran};
use super::journal::{Journal, JournalStep, OperationRecord};
use super::mounts::with_mount_owner;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use super::undo_ledger::{UNDO_RETENTION, UndoCopy};
use super::undo_limit::UndoPolicy;
use crate::backend::{Backend, Instance, InstanceSnapshot, Nesting};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, OperationId, SnapshotName};
use crate::project::Project;
use crate::view::OperationKind;

/// A restored env.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Whether it was running and runs again.
    pub running: bool,
    pub undoable: bool,
}

impl Operations {
    /// Restores an env to a snapshot, with an undo copy where the policy allows. A running env runs again, a
    /// stopped one stays stopped.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where later snapshots would be deleted; those of the engine.
    pub async fn restore(
        &self,
        project: &Project,
        env: &EnvName,
        snapshot: &SnapshotName,
    ) -> Result<Restored> {
        self.restore_as(project, env, snapshot, OperationKind::Restore, None)
            .await
    }

    /// Whether a restore of the env keeps an undo copy.
    ///
    /// # Errors
    /// Those of finding the env.
    pub async fn restore_undo_policy(
        &self,
        project: &Project,
        env: &EnvName,
    ) -> Result<UndoPolicy> {
        let resolved = self.resolve(project, env).await?;
        let capabilities = resolved.backend.capabilities().await?;
        let undo = self.preferences()?.undo;
        Ok(UndoPolicy::for_restore(&capabilities, &undo))
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
        let project = &project.reopen()?;
        let resolved = self.resolve_own(project, env).await?;
        let ResolvedEnv { backend, instance } = &resolved;
        resolved.ensure_snapshot(env, snapshot)?;
        let capabilities = backend.capabilities().await?;
        if !capabilities.restore_keeps_later_snapshots {
            ensure_newest(env, &instance.snapshots, snapshot)?;
        }
        let running = instance.status.is_up();
        let undo = self.preferences()?.undo;
        let undoable = UndoPolicy::for_restore(&capabilities, &undo) == UndoPolicy::Keep;
        let record = self.record(operation, backend.as_ref(), &instance.name, running);
        let boot = instance.started_at;
        let mut journal = Journal::begin(&self.home, OperationRecord { boot, ..record })?;
        let prepared = async {
            if running {
                self.step(operation, "stopping instance");
                // Unwritten data of processes is about to be discarded anyway. A virtual machine also has
                // written data in memory, which belongs into the undo copy.
                if capabilities.snapshots_running || !undoable {
                    force_stop(backend.as_ref(), instance).await?
                } else {
                    self.stop_or_kill(backend.as_ref(), instance).await?
                }
            }
            if undoable {
                // After the stop, because some engines stop the instance for a snapshot.
                self.step(operation, "keeping undo copy");
                self.take_undo_copy(operation, &resolved).await?;
            }
            journal.enter(JournalStep::Committing)
        };
        if let Err(error) = prepared.await {
            // Uncertain: recovery checks for an undo copy.
            if !error.is_uncertain() {
                self.roll_back_restore(backend.as_ref(), journal).await;
            }
            return Err(error);
        }
        match self
            .restore_and_start(project, operation, &resolved, snapshot, &mut journal)
            .await
        {
            // The state is unknown: recovery completes it.
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
        project: &Project,
        operation: &Operation,
        resolved: &ResolvedEnv,
        snapshot: &SnapshotName,
        journal: &mut Journal,
    ) -> Result<()> {
        let ResolvedEnv { backend, instance } = resolved;
        self.step(operation, "restoring snapshot");
        let progress = self.progress(operation);
        let restored = backend.restore(&instance.name, snapshot, &progress).await;
        if restored.as_ref().is_err_and(Error::is_uncertain) {
            return restored;
        }
        let env = &operation.env.env;
        let backend = backend.as_ref();
        let found = backend.brief(&instance.name).await;
        let instance = found.as_ref().unwrap_or(instance);
        let kept = self.keep_settings(project, env, resolved, instance);
        if let Err(error) = kept.await {
            let message = error.report().message;
            self.notice(format!(
                "`{env}` has the settings of the snapshot: {message}"
            ));
        }
        if journal.record.was_running {
            // Also after a failed restore.
            journal.enter(JournalStep::Restarting)?;
            self.step(operation, "starting instance");
            let started = self.start_with_mounts(project, env, backend, instance);
            ignore_conflict(started.await)?;
        }
        restored
    }

    /// Applies the file's settings to a restored instance: a snapshot brings back those that it was taken with.
    async fn keep_settings(
        &self,
        project: &Project,
        env: &EnvName,
        before: &ResolvedEnv,
        instance: &Instance,
    ) -> Result<()> {
        let backend = before.backend.as_ref();
        let restored = &instance.settings;
        if *restored == before.instance.settings {
            return Ok(());
        }
        let capabilities = backend.capabilities().await?;
        let user = project.file().user(env)?.name;
        let mut wanted = self.settings(project, env)?.within(&capabilities);
        if wanted.nesting == Nesting::Docker {
            // The snapshot may be without it.
            wanted.nesting = restored.nesting;
        }
        let wanted =
            with_mount_owner(backend, &capabilities, &instance.name, &user, wanted).await?;
        if wanted != *restored {
            backend.configure(&instance.name, &wanted).await?;
            self.notice(format!(
                "`{env}` has the settings of containers.yaml, not those of the snapshot"
            ));
        }
        Ok(())
    }

    /// Undoes the preparation of a restore. If that fails, the journal stays for recovery.
    async fn roll_back_restore(&self, backend: &dyn Backend, journal: Journal) {
        let rolled_back = async {
            self.discard_undo_copy(backend, &journal.record).await?;
            restart_if_it_ran(backend, &journal.record).await
        };
        match rolled_back.await {
            Ok(()) => journal.close(),
            Err(error) => tracing::warn!(?error, "cannot roll back a restore"),
        }
    }

    /// Keeps the current state of an env as an undo copy.
    async fn take_undo_copy(&self, operation: &Operation, resolved: &ResolvedEnv) -> Result<()> {
        let operation_ref = operation.operation_ref();
        let name = SnapshotName::undo(operation_ref.id);
        let expires_at = self.clock.now() + UNDO_RETENTION;
        resolved
            .backend
            .create_snapshot(
                &resolved.instance.name,
                &name,
                Some(expires_at),
                &self.progress(operation),
            )
            .await?;
        self.write_entry(&operation_ref, resolved, UndoCopy::Snapshot { name })
    }
}

/// Fails for a snapshot that is not the newest, on storage where a restore deletes the later ones.
fn ensure_newest(
    env: &EnvName,
    snapshots: &[InstanceSnapshot],
    wanted: &SnapshotName,
) -> Result<()> {
    let later = snapshots
        .iter()
        .rev()
        .take_while(|known| known.name != *wanted);
    let mut later: Vec<String> = later.map(|known| format!("`{}`", known.name)).collect();
    later.reverse();
    if later.is_empty() {
        return Ok(());
    }
    let message = format!(
        "on this storage pool a restore deletes the later snapshots: {}",
        later.join(", ")
    );
    Err(Error::new(ErrorKind::Conflict, message).with_hint(format!(
        "delete them: `lxc-dev-manager container snapshot delete {env} NAME`; or clone `{wanted}`: \
         `lxc-dev-manager container clone {env} NEW -s {wanted}`"
    )))
}
