//! Bringing an env in line with what the file says of it now.

use super::Engine;
use super::place::Placed;
use super::task::Task;
use crate::backend::Settings;
use crate::error::{Error, Result};
use crate::model::EnvName;
use crate::project::Project;
use crate::view::Verb;

/// What was set on an env before, and what is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Before.
    pub before: Settings,
    /// Now.
    pub now: Settings,
}

impl Configured {
    /// Whether anything was changed.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.before != self.now
    }
}

impl Engine {
    /// Sets the limits, nesting, mounts and autostart of an env as the file has them now. What an engine
    /// can change in a running env changes at once.
    ///
    /// # Errors
    /// Those of the file and of finding the env; the engine's for what it can't do (a disk that would be
    /// smaller than what is on it).
    pub async fn configure(&self, project: &Project, env: &EnvName) -> Result<Configured> {
        let failed = |error: Error| error.context(format!("cannot configure `{env}`"));
        let begun = self.begin(project, env, Verb::Configure, None).await;
        let task = begun.map_err(failed)?;
        let result = self.configure_steps(project, env, &task).await;
        self.end(task, result.map_err(failed))
    }

    async fn configure_steps(
        &self,
        project: &Project,
        env: &EnvName,
        task: &Task,
    ) -> Result<Configured> {
        let project = &project.fresh()?;
        let now = project.settings(env, self.home.user_home())?;
        let Placed { backend, instance } = self.place(project, env).await?;
        let before = instance.settings;
        if before != now {
            self.step(task, "setting what the file says");
            // One request, which an engine does as a whole or not at all: no journal is needed.
            backend.configure(&instance.name, &now).await?;
        }
        Ok(Configured { before, now })
    }
}
