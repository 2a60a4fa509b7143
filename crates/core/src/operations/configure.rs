//! Applying the file's settings to an env.

use super::Operations;
use super::mounts::with_mount_owner;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::{Instance, Mount, Nesting, Settings, outermost};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus};
use crate::project::Project;
use crate::provision;
use crate::view::OperationKind;

/// The settings of an env before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    pub before: Settings,
    pub now: Settings,
    /// Whether the changes take effect with the next start.
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
    /// Applies the file's limits, nesting, mounts and autostart to an env. Running envs change at once where
    /// the engine can.
    ///
    /// # Errors
    /// `Conflict` if Docker cannot be installed now; those of the file and the engine.
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
        let project = &project.reopen()?;
        let now = self.settings(project, env)?;
        let ResolvedEnv { backend, instance } = self.resolve_own(project, env).await?;
        let capabilities = backend.capabilities().await?;
        let now = now.within(&capabilities);
        let user = project.file().user(env)?.name;
        let name = &instance.name;
        let now = with_mount_owner(backend.as_ref(), &capabilities, name, &user, now).await?;
        let before = instance.settings.clone();
        if now.nesting == Nesting::Docker && before.nesting != Nesting::Docker {
            ensure_ready_for_docker(env, &instance)?;
            self.step(operation, "installing Docker");
            provision::install_docker(backend.as_ref(), &instance.name, &user).await?;
        }
        if instance.status.is_up() {
            ensure_covers_stay(env, &before, &now)?;
        }
        if before != now {
            self.step(operation, "applying settings");
            // One atomic request, so there is no journal.
            backend.configure(&instance.name, &now).await?;
        }
        let waits = capabilities.settings_at_start || before.mount_owner != now.mount_owner;
        let from_next_start = before != now && waits && instance.status.is_up();
        Ok(Configured {
            before,
            now,
            from_next_start,
        })
    }
}

/// Fails if a mount over a part of another would be removed from a running env: engines then delete that part.
fn ensure_covers_stay(env: &EnvName, before: &Settings, now: &Settings) -> Result<()> {
    let outer = outermost(&before.mounts);
    let is_removed = |mount: &&Mount| !outer.contains(mount) && !now.mounts.contains(mount);
    let Some(removed) = before.mounts.iter().find(is_removed) else {
        return Ok(());
    };
    let message = format!(
        "cannot unmount {} while `{env}` is running",
        removed.guest.display()
    );
    Err(Error::new(ErrorKind::Conflict, message)
        .with_hint(format!("stop it first: `lxc-dev-manager down {env}`")))
}

/// Fails unless the env runs and was started with nesting.
fn ensure_ready_for_docker(env: &EnvName, instance: &Instance) -> Result<()> {
    let (why, hint) = match (instance.status, instance.settings.nesting) {
        (EnvStatus::Running, Nesting::Off) => (
            "has no nesting",
            "set `nesting: true`, run `lxc-dev-manager config apply`, and restart the env",
        ),
        (EnvStatus::Running, _) => return Ok(()),
        _ => ("is not running", "start it: `lxc-dev-manager up`"),
    };
    let message = format!("cannot install Docker: `{env}` {why}");
    Err(Error::new(ErrorKind::Conflict, message).with_hint(hint))
}
