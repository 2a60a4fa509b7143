//! Finding the instance of an env, and whether it belongs to the project.

use std::path::Path;
use std::sync::Arc;

use super::Operations;
use super::instances::marks;
use crate::backend::{Backend, Instance, Marks};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EnvName, InstanceName, SnapshotName, UserName};
use crate::project::{FILE_NAME, Project};
use crate::view::{EnvRef, OperationKind};

/// An env with its instance and engine.
pub(super) struct ResolvedEnv {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) instance: Instance,
}

impl ResolvedEnv {
    /// Fails if the snapshot does not exist, and lists those that do.
    pub(super) fn ensure_snapshot(&self, env: &EnvName, snapshot: &SnapshotName) -> Result<()> {
        let mut all = self.instance.snapshots.iter();
        if all.any(|known| known.name == *snapshot) {
            return Ok(());
        }
        let shown = self.instance.snapshots.iter();
        let shown = shown.filter(|known| !known.name.is_undo());
        let names: Vec<String> = shown.map(|known| format!("`{}`", known.name)).collect();
        let hint = match names.as_slice() {
            [] => format!("`{env}` has no snapshots"),
            _ => format!("snapshots of `{env}`: {}", names.join(", ")),
        };
        let message = format!("`{env}` has no snapshot `{snapshot}`");
        Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
    }

    /// Fails if another existing checkout created the instance.
    pub(super) fn ensure_own_checkout(&self, project: &Project) -> Result<()> {
        let Some(path) = self.other_checkout(project) else {
            return Ok(());
        };
        let path = path.display();
        let message = format!("`{}` was created in {path}", self.instance.name);
        Err(Error::new(ErrorKind::NotOurs, message).with_hint(format!("run the command in {path}")))
    }

    /// The other checkout that created the instance, if it still exists.
    pub(super) fn other_checkout(&self, project: &Project) -> Option<&Path> {
        other_checkout(&self.instance.marks, project)
    }
}

/// The other checkout that created an instance, if it still exists.
pub(super) fn other_checkout<'a>(marks: &'a Marks, project: &Project) -> Option<&'a Path> {
    let path = marks.path.as_deref()?;
    (path != project.directory() && path.exists()).then_some(path)
}

#[derive(Debug, Clone, Copy)]
enum Query {
    Full,
    /// Without snapshots and address, which is faster.
    Brief,
}

/// Whether an instance belongs to an env of a project, by its marks. An unmarked one that the file lists by its exact
/// name is shown as that env, but needs [`Operations::adopt`] before it is used.
pub(crate) fn is_ours(instance: &Instance, project: &Project, env: &EnvName) -> bool {
    let marks = &instance.marks;
    let is_marked = marks.project == project.name() && marks.env.as_ref() == Some(env);
    is_unmarked(instance) || (is_marked && !instance.is_foreign)
}

/// Whether an instance was created by the original tool, or by hand.
fn is_unmarked(instance: &Instance) -> bool {
    let marks = &instance.marks;
    !instance.is_foreign && marks.project.is_none() && marks.env.is_none()
}

/// The error for an unmarked instance.
pub(super) fn not_adopted(backend: &dyn Backend, name: &InstanceName, env: &EnvName) -> Error {
    let kind = backend.kind();
    let message = format!("this program did not create the instance `{name}` in {kind}");
    Error::new(ErrorKind::NotOurs, message).with_hint(format!(
        "if it is the env `{env}`, adopt it: `lxc-dev-manager adopt {env}`"
    ))
}

impl Operations {
    /// Finds the instance of an env.
    ///
    /// # Errors
    /// `NotFound`; `NotOurs` for a foreign instance; `Unreachable` or `PermissionDenied` without an engine.
    pub(super) async fn resolve(&self, project: &Project, env: &EnvName) -> Result<ResolvedEnv> {
        self.resolve_with(project, env, Query::Full).await
    }

    /// Finds the instance of an env for a change: it belongs to this checkout.
    ///
    /// # Errors
    /// Those of [`Self::resolve`]; `NotOurs` if another existing checkout created it.
    pub(super) async fn resolve_own(
        &self,
        project: &Project,
        env: &EnvName,
    ) -> Result<ResolvedEnv> {
        let resolved = self.resolve(project, env).await?;
        resolved.ensure_own_checkout(project)?;
        Ok(resolved)
    }

    /// Like [`Self::resolve`], without snapshots and address.
    pub(super) async fn resolve_brief(
        &self,
        project: &Project,
        env: &EnvName,
    ) -> Result<ResolvedEnv> {
        self.resolve_with(project, env, Query::Brief).await
    }

    /// Makes an unmarked instance an env of the project: one that the original tool or the user has created.
    /// Returns `false` if it is one already.
    ///
    /// # Errors
    /// `NotFound` without an instance; `NotOurs` if it belongs to another project.
    pub async fn adopt(&self, project: &Project, env: &EnvName) -> Result<bool> {
        let failed = |error: Error| error.context(format!("cannot adopt `{env}`"));
        let begun = self
            .begin(project, env, OperationKind::Configure, None)
            .await;
        let operation = begun.map_err(failed)?;
        let adopted = async {
            self.known_env(project, env)?;
            let name = project.instance(env)?;
            match self.find(&name).await? {
                Some(found) if is_unmarked(&found.instance) => {
                    let marks = marks(project, env, None);
                    found.backend.set_marks(&name, &marks).await?;
                    Ok(true)
                }
                _ => self.resolve(project, env).await.map(|_| false),
            }
        };
        let result = adopted.await.map_err(failed);
        self.end(operation, result)
    }

    /// Returns the reference of an env that the file lists.
    ///
    /// # Errors
    /// `NotFound`, with the envs of the file as a hint.
    pub fn known_env(&self, project: &Project, env: &EnvName) -> Result<EnvRef> {
        if project.file().entry(env).is_some() {
            return Ok(project.env_ref(env));
        }
        let known = project.file().env_names();
        let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("{} has no env `{env}`", label(project));
        let hint = match known.as_slice() {
            [] => format!("create it: `lxc-dev-manager container create {env} debian:12`"),
            _ => format!("envs of the project: {}", known.join(", ")),
        };
        Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
    }

    /// Finds a running env and its user.
    ///
    /// # Errors
    /// `Conflict` if it is stopped.
    pub(super) async fn resolve_running(
        &self,
        project: &Project,
        env: &EnvName,
    ) -> Result<(ResolvedEnv, UserName)> {
        let resolved = self.resolve(project, env).await?;
        if !resolved.instance.status.is_up() {
            let message = format!("`{env}` is stopped");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("start it: `lxc-dev-manager up {env}`")));
        }
        Ok((resolved, project.file().user(env)?.name))
    }

    async fn resolve_with(
        &self,
        project: &Project,
        env: &EnvName,
        query: Query,
    ) -> Result<ResolvedEnv> {
        self.known_env(project, env)?;
        let name = project.instance(env)?;
        match self.find_in(&name, query).await? {
            Some(resolved) if is_unmarked(&resolved.instance) => {
                Err(not_adopted(resolved.backend.as_ref(), &name, env))
            }
            Some(resolved) if is_ours(&resolved.instance, project, env) => {
                // A cache never stops a command.
                if let Err(error) = self.known_engines.add(&self.home, resolved.backend.id()) {
                    tracing::warn!(?error, "cannot store an engine");
                }
                Ok(resolved)
            }
            Some(resolved) => Err(foreign_instance(&resolved, &name)),
            None => {
                if let Some(error) = self.find_renamed(project, env, &name).await {
                    return Err(error);
                }
                let image = project.file().image(env);
                let image = image.map_or("debian:12".to_owned(), |image| image.to_string());
                let message = format!("`{env}` is in {FILE_NAME}, but no engine has `{name}`");
                Err(Error::new(ErrorKind::NotFound, message).with_hint(format!(
                    "create it: `lxc-dev-manager container create {env} {image}`"
                )))
            }
        }
    }

    /// The error for an env whose instance was renamed in the engine, if it was.
    async fn find_renamed(
        &self,
        project: &Project,
        env: &EnvName,
        name: &InstanceName,
    ) -> Option<Error> {
        for backend in &self.backends {
            let all = backend.list_brief().await.unwrap_or_default();
            let matches = |instance: &&Instance| {
                !instance.name.is_undo()
                    && !instance.is_foreign
                    && instance.marks.operation.is_none()
                    && instance.marks.path.as_deref() == Some(project.directory())
                    && instance.marks.env.as_ref() == Some(env)
                    && is_ours(instance, project, env)
            };
            if let Some(found) = all.iter().find(matches) {
                let (kind, now) = (backend.kind(), &found.name);
                let message = format!("`{name}` was renamed to `{now}` in {kind}");
                let command = match kind {
                    EngineKind::Lxd => "lxc",
                    EngineKind::Incus => "incus",
                    EngineKind::Lima => "limactl",
                    EngineKind::Fake => "fake",
                };
                let hint = format!("rename it back: `{command} rename {now} {name}`");
                return Some(Error::new(ErrorKind::Conflict, message).with_hint(hint));
            }
        }
        None
    }

    /// Finds the instance with exactly this name, in the first engine that has it.
    ///
    /// # Errors
    /// `Unreachable` if no engine has it and one that may have it, or every one, is unreachable.
    pub(super) async fn find(&self, name: &InstanceName) -> Result<Option<ResolvedEnv>> {
        self.find_in(name, Query::Full).await
    }

    async fn find_in(&self, name: &InstanceName, query: Query) -> Result<Option<ResolvedEnv>> {
        let (mut failures, mut uncertain, mut reached) = (Vec::new(), None, false);
        for backend in &self.backends {
            let found = match query {
                Query::Full => backend.instance(name).await,
                Query::Brief => backend.brief(name).await,
            };
            match found {
                Ok(instance) => {
                    return Ok(Some(ResolvedEnv {
                        backend: backend.clone(),
                        instance,
                    }));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => reached = true,
                Err(error) if self.may_hold_envs(backend.as_ref())? => {
                    uncertain = uncertain.or(Some(error))
                }
                Err(error) => failures.push(error),
            }
        }
        match (uncertain, reached) {
            (Some(error), _) => Err(error),
            (None, true) => Ok(None),
            (None, false) => Err(self.no_engine_reachable(failures)),
        }
    }

    /// Whether an unreachable engine may have envs.
    pub(super) fn may_hold_envs(&self, backend: &dyn Backend) -> Result<bool> {
        Ok(backend.is_installed() && self.known_engines.contains(&self.home, backend.id())?)
    }

    /// The engine for a new env: the one with envs of this project, else the first reachable one.
    ///
    /// # Errors
    /// `Unreachable` or `PermissionDenied` without an engine.
    pub(super) async fn engine_for_new_env(&self, project: &Project) -> Result<Arc<dyn Backend>> {
        let mut failures = Vec::new();
        let mut first = None;
        for backend in &self.backends {
            match backend.list_brief().await {
                Ok(instances) => {
                    let is_own = |instance: &Instance| {
                        instance.marks.path.as_deref() == Some(project.directory())
                    };
                    if instances.iter().any(is_own) {
                        return Ok(backend.clone());
                    }
                    first.get_or_insert_with(|| backend.clone());
                }
                Err(error) => failures.push(error),
            }
        }
        first.ok_or_else(|| self.no_engine_reachable(failures))
    }

    /// Merges the errors of all engines. Hints at other engines do not help a user of a remote.
    pub(super) fn no_engine_reachable(&self, mut failures: Vec<Error>) -> Error {
        let only_remotes = self.backends.iter().all(|backend| backend.id().is_remote());
        if only_remotes && !failures.is_empty() {
            failures.swap_remove(0)
        } else {
            no_engine(failures)
        }
    }
}

/// The name of a project in messages.
pub(super) fn label(project: &Project) -> String {
    match project.name() {
        Some(name) => format!("project `{name}`"),
        None => format!("the project in {}", project.directory().display()),
    }
}

/// The error for an instance of another project.
pub(super) fn foreign_instance(resolved: &ResolvedEnv, name: &InstanceName) -> Error {
    let (kind, marks) = (resolved.backend.kind(), &resolved.instance.marks);
    let message = if resolved.instance.is_foreign {
        format!("{kind} has an instance `{name}` that is not an env")
    } else {
        let project = marks.project.as_ref().map_or("none", |name| name.as_str());
        let env = marks.env.as_ref().map_or("none", |name| name.as_str());
        format!("instance `{name}` in {kind} belongs to project `{project}`, env `{env}`")
    };
    Error::new(ErrorKind::NotOurs, message)
        .with_hint("choose another name for the env or the project")
}

/// Hint for a machine without an engine.
pub(super) const INSTALL: &str = if cfg!(target_os = "macos") {
    "install one: `brew install lima`"
} else {
    "install one: `sudo apt install incus`"
};

/// Merges the errors of several engines; one that the user can fix comes first.
fn no_engine(mut failures: Vec<Error>) -> Error {
    failures.sort_by_key(|error| error.kind() == ErrorKind::Unreachable);
    let messages: Vec<String> = failures
        .iter()
        .map(|error| error.report().message)
        .collect();
    match failures.into_iter().next() {
        Some(first) if first.kind() != ErrorKind::Unreachable => first,
        Some(first) => Error::new(ErrorKind::Unreachable, "no engine is reachable")
            .with_hint(format!(
                "{INSTALL}; or {}",
                first.hint().unwrap_or("start it")
            ))
            .caused_by(Error::new(ErrorKind::Unreachable, messages.join("; "))),
        None => {
            Error::new(ErrorKind::Unreachable, "no engine found on this machine").with_hint(INSTALL)
        }
    }
}
