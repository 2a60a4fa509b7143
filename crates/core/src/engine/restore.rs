//! Setting an env back to a snapshot.

use super::Engine;
use super::place::Placed;
use super::task::Task;
use crate::backend::Capabilities;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus, SnapshotName};
use crate::project::Project;
use crate::view::Verb;

/// An env that was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// It ran before, and runs again.
    pub running: bool,
    /// What it was before is kept, so that it can be taken back.
    pub undoable: bool,
}

impl Engine {
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
        self.restore_as(project, env, snapshot, Verb::Restore).await
    }

    /// Whether what an env is now would be kept by a restore.
    ///
    /// # Errors
    /// Those of finding it.
    pub async fn restore_can_be_undone(&self, project: &Project, env: &EnvName) -> Result<bool> {
        Ok(undoable(
            &self
                .place(project, env)
                .await?
                .backend
                .capabilities()
                .await?,
        ))
    }

    pub(super) async fn restore_as(
        &self,
        project: &Project,
        env: &EnvName,
        snapshot: &SnapshotName,
        verb: Verb,
    ) -> Result<Restored> {
        let failed =
            |error: Error| error.context(format!("cannot restore `{env}` to `{snapshot}`"));
        let mut task = self
            .begin(project, env, verb, Some(snapshot))
            .await
            .map_err(failed)?;
        let result = self.restore_steps(project, env, &task, snapshot).await;
        task.undoable = result.as_ref().is_ok_and(|restored| restored.undoable);
        self.end(task, result.map_err(failed))
    }

    async fn restore_steps(
        &self,
        project: &Project,
        env: &EnvName,
        task: &Task,
        snapshot: &SnapshotName,
    ) -> Result<Restored> {
        let placed = self.place(project, env).await?;
        let Placed { backend, instance } = &placed;
        if !instance
            .snapshots
            .iter()
            .any(|known| known.name == *snapshot)
        {
            let known = instance
                .snapshots
                .iter()
                .filter(|known| !known.name.is_undo());
            let known: Vec<String> = known.map(|known| format!("`{}`", known.name)).collect();
            let message = format!("`{env}` has no snapshot `{snapshot}`");
            let hint = match known.as_slice() {
                [] => "it has none".to_owned(),
                _ => format!("it has {}", known.join(", ")),
            };
            return Err(Error::new(ErrorKind::NotFound, message).with_hint(hint));
        }
        let running = instance.status == EnvStatus::Running;
        let undoable = undoable(&backend.capabilities().await?);
        let mut journal = self.journal(task, backend.as_ref(), &instance.name, running)?;
        if undoable {
            self.step(task, "keeping what it is now");
            self.keep_for_undo(task, &placed).await?;
        }
        journal.commit()?;
        match self.set_back(task, &placed, snapshot, running).await {
            // The engine went away in the middle: recovery finishes what it can't tell us now.
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout) => {
                return Err(error);
            }
            done => {
                journal.close();
                done?;
            }
        }
        Ok(Restored { running, undoable })
    }

    async fn set_back(
        &self,
        task: &Task,
        placed: &Placed,
        snapshot: &SnapshotName,
        running: bool,
    ) -> Result<()> {
        let Placed { backend, instance } = placed;
        if running {
            self.step(task, "stopping it");
            // What its processes would still write is about to go anyway.
            match backend.stop(&instance.name, true).await {
                Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
                _ => {}
            }
        }
        self.step(task, "restoring");
        let restored = backend.restore(&instance.name, snapshot).await;
        if running {
            // Also where restoring failed: it ran before.
            self.step(task, "starting it");
            backend.start(&instance.name).await?;
        }
        restored
    }
}

/// A copy has to be cheap, and has to outlive the restore itself.
fn undoable(capabilities: &Capabilities) -> bool {
    capabilities.copy_on_write && capabilities.restore_keeps_later_snapshots
}
