//! The way to the ports of an env, and whether a connection may start one.

use std::fs;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use super::Engine;
use crate::backend::{Backend, Route};
use crate::error::{Error, Result};
use crate::model::{EnvName, InstanceName};
use crate::project::Project;

/// Where it is remembered who was stopped on purpose.
const ASLEEP: &str = "asleep";

/// A running env and the way to its ports, good for this boot.
pub(crate) struct Way {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) instance: InstanceName,
    /// When it was started: another time is another boot.
    pub(crate) boot: Option<Timestamp>,
    pub(crate) route: Arc<dyn Route>,
}

impl Engine {
    /// Looks the way to an env up.
    ///
    /// # Errors
    /// `Conflict` where it doesn't run; those of finding it, and of [`Entrance::route`](super::Entrance::route).
    pub(crate) async fn way(&self, project: &Project, env: &EnvName) -> Result<Way> {
        let entrance = self.enter(project, env).await?;
        Ok(Way {
            route: entrance.route().await?,
            backend: entrance.backend,
            instance: entrance.instance,
            boot: entrance.boot,
        })
    }

    /// Whether a connection may start an env: its file says so, and nobody has stopped it on purpose.
    #[must_use]
    pub fn may_wake(&self, project: &Project, env: &EnvName) -> bool {
        let asleep = || -> Result<bool> {
            let mark = self.home().root().join(ASLEEP);
            Ok(mark.join(project.instance(env)?.as_str()).exists())
        };
        project.file().wake(env) && !asleep().unwrap_or(true)
    }

    /// Remembers that an env which connections start was stopped on purpose.
    pub(super) fn put_to_sleep(&self, project: &Project, env: &EnvName) -> Result<()> {
        if !project.file().wake(env) {
            return Ok(());
        }
        let directory = self.home().directory(ASLEEP)?;
        let mark = directory.join(project.instance(env)?.as_str());
        fs::write(&mark, "")
            .map_err(|error| Error::io(format!("cannot write {}", mark.display()), error))
    }

    /// Forgets it: somebody has started the env.
    pub(super) fn wake_up(&self, project: &Project, env: &EnvName) -> Result<()> {
        let mark = self.home().root().join(ASLEEP);
        let mark = mark.join(project.instance(env)?.as_str());
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(
                format!("cannot delete {}", mark.display()),
                error,
            )),
            _ => Ok(()),
        }
    }
}
