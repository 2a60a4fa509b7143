//! Whether a connection may start an env (`wake: true`). A sleep mark, `asleep/<instance>`, says that the
//! user has stopped it.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Operations, delete_file_if_present};
use crate::error::{Error, Result};
use crate::model::{EnvName, InstanceName};
use crate::project::Project;

const ASLEEP_DIRECTORY: &str = "asleep";

impl Operations {
    /// Whether a connection may start an env: it has `wake: true` and no sleep mark.
    #[must_use]
    pub fn may_wake(&self, project: &Project, env: &EnvName) -> bool {
        let asleep = || -> Result<bool> { Ok(self.sleep_mark(&project.instance(env)?).exists()) };
        let may_wake = project.file().wake(env) && !asleep().unwrap_or(true);
        may_wake && self.trust().ensure(project, env, &[]).is_ok()
    }

    /// Sets the sleep mark of an env with `wake: true`.
    pub(super) fn mark_asleep(&self, project: &Project, env: &EnvName) -> Result<()> {
        if !project.file().wake(env) {
            return Ok(());
        }
        self.home().directory(ASLEEP_DIRECTORY)?;
        let mark = self.sleep_mark(&project.instance(env)?);
        fs::write(&mark, "")
            .map_err(|error| Error::io(format!("cannot write {}", mark.display()), error))
    }

    /// Deletes a sleep mark. A missing one is a success.
    pub(super) fn delete_sleep_mark(&self, instance: &InstanceName) -> Result<()> {
        delete_file_if_present(&self.sleep_mark(instance))
    }

    /// Moves the sleep mark of a renamed instance. A missing one is a success.
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
        self.home()
            .root()
            .join(ASLEEP_DIRECTORY)
            .join(instance.as_str())
    }
}
