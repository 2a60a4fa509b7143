//! Running commands in an env.

use std::sync::Arc;

use tokio::io::AsyncReadExt;

use super::Engine;
use super::place::Placed;
use crate::backend::{Backend, Content, ExecIo, ExecSpec, GuestStream, Route};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus, GuestPort, InstanceName};
use crate::project::Project;
use crate::provision;

/// More bytes than a public key has.
const KEY_LIMIT: u64 = 64 * 1024;

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

    /// Waits until the env has an address.
    ///
    /// # Errors
    /// `Timeout` where none comes.
    pub async fn wait_for_network(&self) -> Result<()> {
        provision::wait_for_network(self.backend.as_ref(), &self.instance).await
    }

    /// The way to the ports of the env, for many connections; see [`Backend::route`].
    ///
    /// # Errors
    /// Those of [`Backend::route`].
    pub async fn route(&self) -> Result<Arc<dyn Route>> {
        self.backend.route(&self.instance).await
    }

    /// Connects to a port of the env, once.
    ///
    /// # Errors
    /// Those of [`Entrance::route`] and of [`Route::dial`].
    pub async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        self.route().await?.dial(port).await
    }

    /// The public SSH host keys of the env, as lines of `known_hosts` without the host. The engine tells
    /// them, so nobody on the way can.
    ///
    /// # Errors
    /// The engine's; `NotFound` for an env without an SSH server.
    pub async fn host_keys(&self) -> Result<Vec<String>> {
        const SSH: &str = "/etc/ssh";
        let failed = |error: Error| error.context("the env's host keys can't be read");
        let listed = self.backend.read_file(&self.instance, SSH).await;
        let Content::Directory(files) = listed.map_err(failed)?.content else {
            return Ok(Vec::new());
        };
        let is_key = |file: &&String| file.starts_with("ssh_host_") && file.ends_with("_key.pub");
        let mut keys = Vec::new();
        for file in files.iter().filter(is_key) {
            let path = format!("{SSH}/{file}");
            let found = self.backend.read_file(&self.instance, &path).await;
            if let Content::File(from) = found.map_err(failed)?.content {
                let mut text = String::new();
                let read = from.take(KEY_LIMIT).read_to_string(&mut text).await;
                read.map_err(|error| failed(Error::io("no key", error)))?;
                let mut words = text.split_whitespace();
                if let (Some(kind), Some(key)) = (words.next(), words.next()) {
                    keys.push(format!("{kind} {key}"));
                }
            }
        }
        Ok(keys)
    }
}
