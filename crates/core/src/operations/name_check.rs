//! Whether a name is free for a new env.

use super::Operations;
use super::create::force_delete;
use super::journal::Journal;
use super::resolve::{is_ours, label, not_ours};
use crate::backend::Instance;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{EnvName, InstanceName};
use crate::project::Project;

impl Operations {
    /// Refuses an env that the file has already.
    pub(super) fn expect_new(&self, project: &Project, env: &EnvName) -> Result<()> {
        if project.file().entry(env).is_some() {
            let message = format!("{} has an env `{env}` already", label(project));
            return Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint("see which there are: `lxc-dev-manager list`"));
        }
        refuse_case_conflict(project, env)
    }

    /// Refuses an instance that is there already, and deletes what a killed creation left of it. The
    /// caller holds the env's lock.
    pub(super) async fn expect_absent(
        &self,
        project: &Project,
        env: &EnvName,
        name: &InstanceName,
    ) -> Result<()> {
        let Some(resolved) = self.find(name).await? else {
            return Ok(());
        };
        let marks = &resolved.instance.marks;
        if !is_ours(&resolved.instance, project, env) {
            return Err(not_ours(&resolved, name));
        }
        if self.is_abandoned(&resolved.instance, project)? {
            let text = format!("what a killed create left of `{env}` is deleted");
            self.bus.publish(EventKind::Notice(text));
            return force_delete(resolved.backend.as_ref(), name).await;
        }
        let remote_engines = marks
            .path
            .as_deref()
            .filter(|path| *path != project.directory());
        let (message, hint) = match remote_engines {
            Some(path) => (
                format!("`{name}` was made in another checkout, {}", path.display()),
                "give this checkout a name of its own: change `project:` in its file".to_owned(),
            ),
            None => (
                format!("{} has instance `{name}` already", resolved.backend.kind()),
                format!("use it: `lxc-dev-manager up {env}`, or remove it first"),
            ),
        };
        Err(Error::new(ErrorKind::AlreadyExists, message).with_hint(hint))
    }

    /// Whether an instance was never finished, and nobody will: the engine began to make it when the
    /// command that had asked for it was killed and recovered already. The caller holds the env's lock.
    fn is_abandoned(&self, instance: &Instance, project: &Project) -> Result<bool> {
        let Some(operation) = &instance.marks.operation else {
            return Ok(false);
        };
        let here = instance.marks.path.as_deref() == Some(project.directory());
        Ok(here && instance.snapshots.is_empty() && !Journal::exists(&self.home, operation)?)
    }
}

/// Refuses a name that differs from another one's by upper and lower case only.
pub(super) fn refuse_case_conflict(project: &Project, env: &EnvName) -> Result<()> {
    let names = project.file().env_names().into_iter();
    let mut conflicts =
        names.filter(|known| known != env && known.as_str().eq_ignore_ascii_case(env.as_str()));
    match conflicts.next() {
        None => Ok(()),
        Some(conflict) => {
            let message = format!(
                "{} has `{conflict}` already: host names fold case",
                label(project)
            );
            Err(Error::new(ErrorKind::AlreadyExists, message))
        }
    }
}
