//! The routes to the ports of an env.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{Operations, RunningEnv};
use crate::backend::ssh::{Access, SshRoute};
use crate::backend::{GuestStream, Listener, Route, listeners};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, GuestPort};
use crate::project::Project;
use crate::provision::KeyPair;

impl RunningEnv {
    /// The way to the ports of the env in its present boot, for many connections: by the engine's own
    /// network, and where that isn't within reach by SSH.
    ///
    /// # Errors
    /// Those of [`Backend::route`], but for `Unsupported`.
    ///
    /// [`Backend::route`]: crate::backend::Backend::route
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
            // Whether it runs is known at once; a session begins with the first connection.
            routes.ssh().await?;
        }
        Ok(Arc::new(routes))
    }

    /// What listens in the env, by port: one command in it.
    ///
    /// # Errors
    /// The engine's; `Guest` where the env doesn't tell.
    pub async fn listeners(&self) -> Result<Vec<Listener>> {
        listeners(self.backend.as_ref(), &self.instance).await
    }

    /// Connects to a port of the env, once.
    ///
    /// # Errors
    /// Those of [`RunningEnv::route`] and of [`Route::dial`].
    pub async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        self.route().await?.dial(port).await
    }
}

impl Operations {
    /// Ports of an env that its engine forwards by itself; none where it can't be seen now.
    pub async fn native_ports(&self, project: &Project, env: &EnvName) -> Vec<GuestPort> {
        match self.resolve(project, env).await {
            Ok(resolved) => resolved.instance.settings.native_ports,
            Err(_) => Vec::new(),
        }
    }
}

/// The engine's network first, SSH where that can't do it.
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
                    key: KeyPair::load_or_make(home)?.private,
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
