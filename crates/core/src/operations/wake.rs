//! The way to the ports of an env, and whether a connection may start one.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::Operations;
use crate::backend::{Backend, Route};
use crate::error::{Error, Result};
use crate::model::{EnvName, InstanceName};
use crate::project::Project;

/// Where it is remembered who was stopped on purpose.
const ASLEEP: &str = "asleep";

/// A running env and the way to its ports, good for this boot.
pub(crate) struct EnvRoute {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) instance: InstanceName,
    /// When it was started: another time is another boot.
    pub(crate) boot: Option<Timestamp>,
    pub(crate) route: Arc<dyn Route>,
}

impl Operations {
    /// Looks the way to an env up.
    ///
    /// # Errors
    /// `Conflict` where it doesn't run; those of finding it, and of [`RunningEnv::route`](super::RunningEnv::route).
    pub(crate) async fn way(&self, project: &Project, env: &EnvName) -> Result<EnvRoute> {
        let running_env = self.enter(project, env).await?;
        Ok(EnvRoute {
            route: running_env.route().await?,
            backend: running_env.backend,
            instance: running_env.instance,
            boot: running_env.boot,
        })
    }

    /// Whether a connection may start an env: its file says so, and nobody has stopped it on purpose.
    #[must_use]
    pub fn may_wake(&self, project: &Project, env: &EnvName) -> bool {
        let asleep = || -> Result<bool> { Ok(self.sleep_mark(&project.instance(env)?).exists()) };
        project.file().wake(env) && !asleep().unwrap_or(true)
    }

    /// Remembers that an env which connections start was stopped on purpose.
    pub(super) fn mark_asleep(&self, project: &Project, env: &EnvName) -> Result<()> {
        if !project.file().wake(env) {
            return Ok(());
        }
        self.home().directory(ASLEEP)?;
        let mark = self.sleep_mark(&project.instance(env)?);
        fs::write(&mark, "")
            .map_err(|error| Error::io(format!("cannot write {}", mark.display()), error))
    }

    /// Forgets it: somebody has started the env.
    pub(super) fn clear_asleep(&self, project: &Project, env: &EnvName) -> Result<()> {
        self.delete_sleep_mark(&project.instance(env)?)
    }

    /// Forgets it: the instance is gone.
    pub(super) fn delete_sleep_mark(&self, instance: &InstanceName) -> Result<()> {
        let mark = self.sleep_mark(instance);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(
                format!("cannot delete {}", mark.display()),
                error,
            )),
            _ => Ok(()),
        }
    }

    /// Remembers it under another name of the instance. Does nothing where that was done before.
    pub(super) fn move_sleep_mark(&self, old: &InstanceName, new: &InstanceName) -> Result<()> {
        let (old, new) = (self.sleep_mark(old), self.sleep_mark(new));
        match fs::rename(&old, &new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("cannot rename {}", old.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn sleep_mark(&self, instance: &InstanceName) -> PathBuf {
        self.home().root().join(ASLEEP).join(instance.as_str())
    }
}
