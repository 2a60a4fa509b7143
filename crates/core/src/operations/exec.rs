//! Running commands in an env.

use std::sync::Arc;

use jiff::Timestamp;

use super::Operations;
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, ExecIo, ExecSpec, ssh};
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::home::Home;
use crate::model::{EnvName, EnvStatus, InstanceName, UserName};
use crate::project::Project;
use crate::provision;

/// A running env, for commands and connections.
#[derive(Clone)]
pub struct RunningEnv {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) instance: InstanceName,
    /// Start time, which identifies the boot.
    pub(super) boot: Option<Timestamp>,
    /// The env's user, or why the file is invalid.
    pub(super) user: Result<UserName, ErrorReport>,
    pub(super) home: Home,
}

impl Operations {
    /// Finds a running env.
    ///
    /// # Errors
    /// `Conflict` if it is not running; those of finding it.
    pub async fn running_env(&self, project: &Project, env: &EnvName) -> Result<RunningEnv> {
        let ResolvedEnv { backend, instance } = self.resolve_brief(project, env).await?;
        if instance.status != EnvStatus::Running {
            let message = format!("`{env}` is {}", instance.status.label().to_lowercase());
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("start it: `lxc-dev-manager up {env}`")));
        }
        let user = project.file().user(env);
        Ok(RunningEnv {
            backend,
            instance: instance.name,
            boot: instance.started_at,
            user: user.map(|user| user.name).map_err(|error| error.report()),
            home: self.home().clone(),
        })
    }
}

impl RunningEnv {
    /// Runs a command as root and copies its streams; see [`Backend::exec`].
    ///
    /// # Errors
    /// Those of [`Backend::exec`].
    pub async fn exec(&self, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        self.backend.exec(&self.instance, spec, io).await
    }

    /// Waits until the env has an address.
    ///
    /// # Errors
    /// `Timeout`.
    pub async fn wait_for_network(&self) -> Result<()> {
        provision::wait_for_network(self.backend.as_ref(), &self.instance).await
    }

    /// The public SSH host keys, as lines of `known_hosts` without the host; see [`ssh::host_keys`].
    ///
    /// # Errors
    /// `NotFound` without an SSH server; those of the engine.
    pub async fn host_keys(&self) -> Result<Vec<String>> {
        ssh::host_keys(self.backend.as_ref(), &self.instance).await
    }
}
