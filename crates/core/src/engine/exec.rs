//! Running commands in an env.

use std::sync::Arc;

use super::Engine;
use super::place::Placed;
use crate::backend::{Backend, ExecIo, ExecSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus, GuestPort, InstanceName};
use crate::project::Project;

/// A running env into which streams can be opened.
#[derive(Clone)]
pub struct Entrance {
    backend: Arc<dyn Backend>,
    instance: InstanceName,
}

impl Engine {
    /// Finds an env that runs.
    ///
    /// # Errors
    /// `Conflict` where it doesn't run, with the command that starts it.
    pub async fn enter(&self, project: &Project, env: &EnvName) -> Result<Entrance> {
        let Placed { backend, instance } = self.place_briefly(project, env).await?;
        if instance.status != EnvStatus::Running {
            let message = format!("`{env}` is {}", instance.status.label().to_lowercase());
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("start it: `lxc-dev-manager up {env}`")));
        }
        Ok(Entrance {
            backend,
            instance: instance.name,
        })
    }
}

impl Entrance {
    /// Runs a command as the guest's root and pumps its streams; see [`Backend::exec`].
    ///
    /// # Errors
    /// Those of [`Backend::exec`].
    pub async fn exec(&self, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        self.backend.exec(&self.instance, spec, io).await
    }

    /// Connects to a port of the env; see [`Backend::dial`].
    ///
    /// # Errors
    /// Those of [`Backend::dial`].
    pub async fn dial(&self, port: GuestPort) -> Result<Box<dyn crate::backend::GuestStream>> {
        self.backend.dial(&self.instance, port).await
    }
}
