//! The routes to the ports of an env.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::{Operations, RunningEnv};
use crate::backend::ssh::{Access, SshRoute};
use crate::backend::{Backend, GuestStream, Listener, Route, listeners};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, GuestPort, InstanceName};
use crate::project::Project;
use crate::provision::KeyPair;

impl RunningEnv {
    /// Opens a route to the ports of the env, valid for one boot: through the engine's network, or through
    /// SSH.
    ///
    /// # Errors
    /// Those of [`Backend::route`] except `Unsupported`.
    pub async fn route(&self) -> Result<Arc<dyn Route>> {
        let network = match self.backend.route(&self.instance).await {
            Ok(network) => Some(network),
            Err(error) if error.kind() == ErrorKind::Unsupported => None,
            Err(error) => return Err(error),
        };
        let routes = EnvRoutes {
            network,
            ssh: OnceCell::new(),
            running_env: self.clone(),
        };
        if routes.network.is_none() {
            // Fails at once if it is not running; connects with the first dial.
            routes.ssh().await?;
        }
        Ok(Arc::new(routes))
    }

    /// Lists the listening sockets of the env.
    ///
    /// # Errors
    /// `Guest` for an unexpected output; those of the engine.
    pub async fn listeners(&self) -> Result<Vec<Listener>> {
        listeners(self.backend.as_ref(), &self.instance).await
    }

    /// Connects once to a port of the env.
    ///
    /// # Errors
    /// Those of [`RunningEnv::route`] and of [`Route::dial`].
    pub async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        self.route().await?.dial(port).await
    }
}

/// A route to a running env, valid for one boot.
pub(crate) struct EnvRoute {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) instance: InstanceName,
    /// Start time of the boot.
    pub(crate) boot: Option<Timestamp>,
    pub(crate) route: Arc<dyn Route>,
}

impl Operations {
    /// Opens a route to a running env.
    ///
    /// # Errors
    /// `Conflict` if it is not running; those of [`RunningEnv::route`].
    pub(crate) async fn open_route(&self, project: &Project, env: &EnvName) -> Result<EnvRoute> {
        let running_env = self.running_env(project, env).await?;
        Ok(EnvRoute {
            route: running_env.route().await?,
            backend: running_env.backend,
            instance: running_env.instance,
            boot: running_env.boot,
        })
    }

    /// Ports that the engine itself forwards; empty if the env is not found.
    pub async fn native_ports(&self, project: &Project, env: &EnvName) -> Vec<GuestPort> {
        match self.resolve(project, env).await {
            Ok(resolved) => resolved.instance.settings.native_ports,
            Err(_) => Vec::new(),
        }
    }
}

/// Uses the engine's network where supported, else SSH.
struct EnvRoutes {
    network: Option<Arc<dyn Route>>,
    ssh: OnceCell<SshRoute>,
    running_env: RunningEnv,
}

impl EnvRoutes {
    async fn ssh(&self) -> Result<&SshRoute> {
        self.ssh
            .get_or_try_init(|| async {
                let RunningEnv {
                    backend,
                    instance,
                    user,
                    home,
                    ..
                } = &self.running_env;
                let access = Access {
                    user: user.clone().map_err(Error::from)?,
                    key: KeyPair::load_or_create(home)?.private,
                };
                SshRoute::new(backend.clone(), instance, access).await
            })
            .await
    }
}

#[async_trait]
impl Route for EnvRoutes {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        if let Some(network) = &self.network {
            match network.dial(port).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                dialled => return dialled,
            }
        }
        self.ssh().await?.dial(port).await
    }
}
