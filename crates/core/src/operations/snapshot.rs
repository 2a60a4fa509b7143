//! Taking and deleting snapshots.

use super::Operations;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, SnapshotName};
use crate::project::{Change, Project, whole_seconds};
use crate::view::OperationKind;

/// Whether a running env may be stopped for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayStop {
    /// It may, and is started again.
    Yes,
    /// It stays up, or nothing is done.
    No,
}

impl ResolvedEnv {
    /// Whether a snapshot of it, as it is now, stops it.
    pub(super) async fn is_stopped_by_a_snapshot(&self) -> Result<bool> {
        let runs = self.instance.status.is_up();
        Ok(runs && !self.backend.capabilities().await?.snapshots_running)
    }
}

impl Operations {
    /// Takes a snapshot of an env, running or not. Some engines stop a running one for a moment; `stop`
    /// says whether they may.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken; `Conflict` for a running env that would be stopped and may
    /// not be; those of finding the env, and the engine's.
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
        refuse_reserved(snapshot).map_err(failed)?;
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
        *project = project.fresh()?;
        let resolved = self.resolve(project, env).await?;
        let name = &resolved.instance.name;
        if resolved
            .instance
            .snapshots
            .iter()
            .any(|known| known.name == *snapshot)
        {
            let message = format!("`{env}` has a snapshot `{snapshot}` already");
            return Err(
                Error::new(ErrorKind::AlreadyExists, message).with_hint(format!(
                    "delete it first: `lxc-dev-manager container snapshot delete {env} {snapshot}`"
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
        let stops = resolved.is_stopped_by_a_snapshot().await?;
        if stops && stop == MayStop::No {
            let message = format!("`{env}` would be stopped for a moment");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("stop it first, or leave `--no-stop` out"));
        }
        let journal = self.journal(operation, resolved.backend.as_ref(), name, stops)?;
        self.step(
            operation,
            match stops {
                true => "stopping it, taking the snapshot, and starting it again",
                false => "taking the snapshot",
            },
        );
        let progress = self.progress(operation);
        let taken = resolved.backend.snapshot(name, snapshot, None, &progress);
        if let Err(error) = taken.await {
            // Where it may have been taken all the same, recovery looks.
            if !error.is_uncertain() {
                journal.close();
            }
            return Err(error);
        }
        if stops && !resolved.backend.brief(name).await?.status.is_up() {
            self.notice(format!(
                "`{env}` didn't start again: `lxc-dev-manager up {env}`"
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
    /// `Conflict` for `initial-state`, `NotFound` for one that isn't there.
    pub async fn delete_snapshot(
        &self,
        project: &mut Project,
        env: &EnvName,
        snapshot: &SnapshotName,
    ) -> Result<()> {
        let failed =
            |error: Error| error.context(format!("cannot delete snapshot `{snapshot}` of `{env}`"));
        if snapshot.is_initial_state() {
            let message = "`initial-state` belongs to the env: `container reset` goes back to it";
            return Err(failed(Error::new(ErrorKind::Conflict, message)));
        }
        refuse_reserved(snapshot).map_err(failed)?;
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
        *project = project.fresh()?;
        let resolved = self.resolve(project, env).await?;
        let deleted = resolved
            .backend
            .delete_snapshot(&resolved.instance.name, snapshot)
            .await;
        let listed = |project: &Project| {
            let entry = project.file().entry(env);
            entry.is_some_and(|entry| entry.snapshots.contains_key(snapshot.as_str()))
        };
        // One that only the file knows is cleared from it.
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

fn refuse_reserved(snapshot: &SnapshotName) -> Result<()> {
    if snapshot.is_undo() {
        let message = format!("names like `{snapshot}` are kept for `undo`");
        return Err(Error::new(ErrorKind::InvalidName, message));
    }
    Ok(())
}
