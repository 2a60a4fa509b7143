//! Checks that a name is free for a new env.

use super::Operations;
use super::instances::force_delete;
use super::journal::Journal;
use super::resolve::{foreign_instance, is_ours, label, not_adopted};
use crate::backend::Instance;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, InstanceName};
use crate::project::Project;

impl Operations {
    /// Fails if the instance exists; an orphaned one of an interrupted create is deleted. The caller holds
    /// the env's lock.
    pub(super) async fn ensure_absent(
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
            return Err(foreign_instance(&resolved, name));
        }
        if self.is_orphaned(&resolved.instance, project)? {
            self.notice(format!("deleting `{name}`, left by an interrupted create"));
            return force_delete(resolved.backend.as_ref(), name).await;
        }
        if marks.project.is_none() && marks.env.is_none() {
            return Err(not_adopted(resolved.backend.as_ref(), name, env));
        }
        let other_checkout = marks
            .path
            .as_deref()
            .filter(|path| *path != project.directory());
        let (message, hint) = match other_checkout {
            Some(path) => (
                format!("`{name}` belongs to another checkout: {}", path.display()),
                "give this checkout another name: change `project:` in its file".to_owned(),
            ),
            None => (
                format!(
                    "{} already has an instance `{name}`",
                    resolved.backend.kind()
                ),
                format!("start it: `lxc-dev-manager up {env}`, or remove it first"),
            ),
        };
        Err(Error::new(ErrorKind::AlreadyExists, message).with_hint(hint))
    }

    /// Whether an instance is incomplete and has no journal: the engine created it after the interrupted
    /// create was recovered. The caller holds the env's lock.
    fn is_orphaned(&self, instance: &Instance, project: &Project) -> Result<bool> {
        let Some(operation) = &instance.marks.operation else {
            return Ok(false);
        };
        let is_own = instance.marks.path.as_deref() == Some(project.directory());
        Ok(is_own
            && instance.snapshots.is_empty()
            && !Journal::of_operation(&self.home, operation)?.exists())
    }
}

/// Fails if the file lists the env.
pub(super) fn ensure_new(project: &Project, env: &EnvName) -> Result<()> {
    if project.file().entry(env).is_some() {
        let message = format!("{} already has an env `{env}`", label(project));
        return Err(Error::new(ErrorKind::AlreadyExists, message)
            .with_hint("list envs: `lxc-dev-manager list`"));
    }
    ensure_no_case_conflict(project, env)
}

/// Fails for a name that differs from another one only by case.
pub(super) fn ensure_no_case_conflict(project: &Project, env: &EnvName) -> Result<()> {
    let names = project.file().env_names().into_iter();
    let mut conflicts =
        names.filter(|known| known != env && known.as_str().eq_ignore_ascii_case(env.as_str()));
    match conflicts.next() {
        None => Ok(()),
        Some(conflict) => {
            let label = label(project);
            let message = format!("{label} has an env `{conflict}`: host names ignore case");
            Err(Error::new(ErrorKind::AlreadyExists, message))
        }
    }
}
