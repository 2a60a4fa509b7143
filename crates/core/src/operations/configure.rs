//! Bringing an env in line with what the file says of it now.

use super::Operations;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::{Instance, Nesting, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus};
use crate::project::Project;
use crate::provision;
use crate::view::OperationKind;

/// What was set on an env before, and what is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Before.
    pub before: Settings,
    /// Now.
    pub now: Settings,
    /// The env runs, and goes on as it was until it is started anew.
    pub from_next_start: bool,
}

impl Configured {
    /// Whether anything was changed.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.before != self.now
    }
}

impl Operations {
    /// Sets the limits, nesting, mounts and autostart of an env as the file has them now. What an engine
    /// can change in a running env changes at once.
    ///
    /// # Errors
    /// Those of the file and of finding the env; `Conflict` where Docker can't be installed as the env is
    /// now; the engine's for what it can't do (a disk that would be
    /// smaller than what is on it).
    pub async fn configure(&self, project: &Project, env: &EnvName) -> Result<Configured> {
        let failed = |error: Error| error.context(format!("cannot configure `{env}`"));
        let begun = self
            .begin(project, env, OperationKind::Configure, None)
            .await;
        let operation = begun.map_err(failed)?;
        let result = self.configure_steps(project, env, &operation).await;
        self.end(operation, result.map_err(failed))
    }

    async fn configure_steps(
        &self,
        project: &Project,
        env: &EnvName,
        operation: &Operation,
    ) -> Result<Configured> {
        let project = &project.fresh()?;
        let now = project.settings(env, self.home.user_home())?;
        let ResolvedEnv { backend, instance } = self.resolve(project, env).await?;
        let capabilities = backend.capabilities().await?;
        let now = now.within(&capabilities);
        let before = instance.settings.clone();
        if now.nesting == Nesting::Docker && before.nesting != Nesting::Docker {
            expect_ready_for_docker(env, &instance)?;
            let user = project.file().user(env)?.name;
            self.step(operation, "installing Docker");
            provision::install_docker(backend.as_ref(), &instance.name, &user).await?;
        }
        if before != now {
            self.step(operation, "setting what the file says");
            // One request, which an engine does as a whole or not at all: no journal is needed.
            backend.configure(&instance.name, &now).await?;
        }
        let from_next_start =
            before != now && capabilities.settings_at_start && instance.status.is_up();
        Ok(Configured {
            before,
            now,
            from_next_start,
        })
    }
}

/// Docker is installed in an env that runs, and that has run with nesting from its start.
fn expect_ready_for_docker(env: &EnvName, instance: &Instance) -> Result<()> {
    let (why, hint) = match (instance.status, instance.settings.nesting) {
        (EnvStatus::Running, Nesting::Off) => (
            "has no nesting",
            "write `nesting: true` first, `lxc-dev-manager config apply`, and restart it",
        ),
        (EnvStatus::Running, _) => return Ok(()),
        _ => ("doesn't run", "start it first: `lxc-dev-manager up`"),
    };
    let message = format!("`{env}` {why}, so Docker can't be installed in it");
    Err(Error::new(ErrorKind::Conflict, message).with_hint(hint))
}
