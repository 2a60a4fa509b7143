//! Taking and deleting snapshots.

pub(super) mod recovery;

use super::Operations;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, SnapshotName};
use crate::project::{Change, Project, whole_seconds};
use crate::view::OperationKind;

/// Whether an operation may stop a running env for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayStop {
    Yes,
    No,
}

impl ResolvedEnv {
    /// Whether the engine would stop the running env for a snapshot.
    pub(super) async fn is_stopped_by_snapshot(&self) -> Result<bool> {
        let runs = self.instance.status.is_up();
        Ok(runs && !self.backend.capabilities().await?.snapshots_running)
    }
}

impl Operations {
    /// Takes a snapshot of an env. Some engines stop a running env for a moment, if `stop` allows it.
    ///
    /// # Errors
    /// `AlreadyExists`; `Conflict` for an env that may not be stopped; those of the engine.
    pub async fn snapshot(
        &self,
        project: &mut Project,
        env: &EnvName,
        snapshot: &SnapshotName,
        description: Option<String>,
        stop: MayStop,
    ) -> Result<()> {
        let failed =
            |error: Error| error.context(format!("cannot take snapshot `{snapshot}` of `{env}`"));
        ensure_not_reserved(snapshot).map_err(failed)?;
        let operation = self
            .begin(project, env, OperationKind::Snapshot, Some(snapshot))
            .await
            .map_err(failed)?;
        let result = self
            .snapshot_steps(project, env, &operation, snapshot, description, stop)
            .await;
        self.end(operation, result.map_err(failed))
    }

    async fn snapshot_steps(
        &self,
        project: &mut Project,
        env: &EnvName,
        operation: &Operation,
        snapshot: &SnapshotName,
        description: Option<String>,
        stop: MayStop,
    ) -> Result<()> {
        *project = project.reopen()?;
        let resolved = self.resolve_own(project, env).await?;
        let name = &resolved.instance.name;
        if resolved
            .instance
            .snapshots
            .iter()
            .any(|known| known.name == *snapshot)
        {
            let message = format!("`{env}` already has a snapshot `{snapshot}`");
            return Err(
                Error::new(ErrorKind::AlreadyExists, message).with_hint(format!(
                    "delete it: `lxc-dev-manager container snapshot delete {env} {snapshot}`"
                )),
            );
        }
        let change = Change::AddSnapshot {
            env: env.clone(),
            snapshot: snapshot.clone(),
            description,
            created_at: whole_seconds(self.clock.now()),
        };
        project.check(std::slice::from_ref(&change))?;
        let stops = resolved.is_stopped_by_snapshot().await?;
        if stops && stop == MayStop::No {
            let message = format!("the engine stops `{env}` for a snapshot");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("stop the env, or omit `--no-stop`"));
        }
        let journal = self.journal(operation, resolved.backend.as_ref(), name, stops)?;
        self.step(
            operation,
            if stops {
                "stopping instance and taking snapshot"
            } else {
                "taking snapshot"
            },
        );
        let progress = self.progress(operation);
        let taken = resolved
            .backend
            .create_snapshot(name, snapshot, None, &progress);
        if let Err(error) = taken.await {
            // Uncertain: recovery checks for the snapshot.
            if !error.is_uncertain() {
                journal.close();
            }
            return Err(error);
        }
        if stops && !resolved.backend.brief(name).await?.status.is_up() {
            self.notice(format!(
                "`{env}` did not start again: start it with `lxc-dev-manager up {env}`"
            ));
        }
        let written = project.change(&[change]);
        if let Err(error) = written {
            resolved.backend.delete_snapshot(name, snapshot).await?;
            journal.close();
            return Err(error);
        }
        journal.close();
        Ok(())
    }

    /// Deletes a snapshot of an env.
    ///
    /// # Errors
    /// `Conflict` for `initial-state`; `NotFound`; those of the engine.
    pub async fn delete_snapshot(
        &self,
        project: &mut Project,
        env: &EnvName,
        snapshot: &SnapshotName,
    ) -> Result<()> {
        let failed =
            |error: Error| error.context(format!("cannot delete snapshot `{snapshot}` of `{env}`"));
        if snapshot.is_initial_state() {
            let message = "`initial-state` cannot be deleted: `container reset` needs it";
            return Err(failed(Error::new(ErrorKind::Conflict, message)));
        }
        ensure_not_reserved(snapshot).map_err(failed)?;
        let kind = OperationKind::DeleteSnapshot;
        let operation = self
            .begin(project, env, kind, Some(snapshot))
            .await
            .map_err(failed)?;
        let result = self.delete_snapshot_steps(project, env, snapshot).await;
        self.end(operation, result.map_err(failed))
    }

    async fn delete_snapshot_steps(
        &self,
        project: &mut Project,
        env: &EnvName,
        snapshot: &SnapshotName,
    ) -> Result<()> {
        *project = project.reopen()?;
        let resolved = self.resolve_own(project, env).await?;
        let deleted = resolved
            .backend
            .delete_snapshot(&resolved.instance.name, snapshot)
            .await;
        let listed = |project: &Project| {
            let entry = project.file().entry(env);
            entry.is_some_and(|entry| entry.snapshots.contains_key(snapshot.as_str()))
        };
        // An entry of the file without a snapshot is removed.
        match deleted {
            Err(error) if error.kind() == ErrorKind::NotFound && !listed(project) => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("`{env}` has no snapshot `{snapshot}`"),
                ));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if listed(project) {
            let (env, snapshot) = (env.clone(), snapshot.clone());
            project.change(&[Change::RemoveSnapshot { env, snapshot }])?;
        }
        Ok(())
    }
}

fn ensure_not_reserved(snapshot: &SnapshotName) -> Result<()> {
    if snapshot.is_undo() {
        let message = format!("snapshot name `{snapshot}` is reserved for `undo`");
        return Err(Error::new(ErrorKind::InvalidName, message));
    }
    Ok(())
}
