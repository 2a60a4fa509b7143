//! Removing an env.

use super::Engine;
use super::create::delete_whatever_state;
use super::place::Placed;
use super::task::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus};
use crate::project::{Change, Project};
use crate::view::Verb;

impl Engine {
    /// Removes an env from the engine and the file. Where copies are cheap it is kept under another
    /// name for `undo`; returns whether it is. One that only the file names loses its entry.
    ///
    /// # Errors
    /// `NotOurs` where the instance is somebody else's or another checkout made it.
    pub async fn remove(&self, project: &mut Project, env: &EnvName) -> Result<bool> {
        let failed = |error: Error| error.context(format!("cannot remove `{env}`"));
        let mut task = self
            .begin(project, env, Verb::Remove, None)
            .await
            .map_err(failed)?;
        let result = self.remove_steps(project, env, &task).await;
        task.undoable = matches!(result, Ok(true));
        self.end(task, result.map_err(failed))
    }

    async fn remove_steps(
        &self,
        project: &mut Project,
        env: &EnvName,
        task: &Task,
    ) -> Result<bool> {
        let placed = match self.place(project, env).await {
            Ok(placed) => placed,
            Err(error)
                if error.kind() == ErrorKind::NotFound && project.file().entry(env).is_some() =>
            {
                project.change(&Change::RemoveEnv { env: env.clone() })?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        refuse_other_checkout(project, &placed)?;
        project.check(&Change::RemoveEnv { env: env.clone() })?;
        let Placed { backend, instance } = &placed;
        let undoable = backend.capabilities().await?.copy_on_write;
        let was_running = instance.status == EnvStatus::Running;
        let mut journal = self.journal(task, backend.as_ref(), &instance.name, was_running)?;
        if was_running {
            self.step(task, "stopping it");
            // Gently where it is kept: what is taken back should be whole.
            let stopped = backend.stop(&instance.name, !undoable).await;
            if stopped.is_err_and(|error| error.kind() == ErrorKind::Timeout) {
                backend.stop(&instance.name, true).await?;
            }
        }
        journal.commit()?;
        let before = project.text()?;
        if undoable {
            self.step(task, "keeping it for undo");
            self.set_aside(task, &placed, &before).await?;
        } else {
            self.step(task, "deleting it");
            delete_whatever_state(backend.as_ref(), &instance.name).await?;
        }
        project.change(&Change::RemoveEnv { env: env.clone() })?;
        journal.close();
        Ok(undoable)
    }
}

/// An env that another directory made, which is still there, is not this one's to remove.
fn refuse_other_checkout(project: &Project, placed: &Placed) -> Result<()> {
    let other = placed.instance.marks.path.as_deref();
    match other.filter(|path| *path != project.directory() && path.exists()) {
        None => Ok(()),
        Some(path) => {
            let message = format!("`{}` was made in {}", placed.instance.name, path.display());
            Err(Error::new(ErrorKind::NotOurs, message).with_hint("remove it there"))
        }
    }
}
