//! Which engine has an env, and whether what it has is ours.

use std::path::Path;
use std::sync::Arc;

use super::Operations;
use crate::backend::{Backend, Instance, Marks};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EnvName, InstanceName, SnapshotName};
use crate::project::{FILE_NAME, Project};
use crate::view::EnvRef;

/// An env that was found.
pub(super) struct ResolvedEnv {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) instance: Instance,
}

impl ResolvedEnv {
    /// Refuses a snapshot that isn't there, naming those that are.
    pub(super) fn expect_snapshot(&self, env: &EnvName, snapshot: &SnapshotName) -> Result<()> {
        let mut all = self.instance.snapshots.iter();
        if all.any(|known| known.name == *snapshot) {
            return Ok(());
        }
        let shown = self.instance.snapshots.iter();
        let shown = shown.filter(|known| !known.name.is_undo());
        let names: Vec<String> = shown.map(|known| format!("`{}`", known.name)).collect();
        let hint = match names.as_slice() {
            [] => "it has none".to_owned(),
            _ => format!("it has {}", names.join(", ")),
        };
        let message = format!("`{env}` has no snapshot `{snapshot}`");
        Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
    }
}

impl ResolvedEnv {
    /// Refuses what another directory made that is still there.
    pub(super) fn expect_own_checkout(&self, project: &Project) -> Result<()> {
        let Some(path) = self.other_checkout(project) else {
            return Ok(());
        };
        let message = format!("`{}` was made in {}", self.instance.name, path.display());
        Err(Error::new(ErrorKind::NotOurs, message).with_hint("do it there"))
    }

    /// The other directory that made it, while that is still there.
    pub(super) fn other_checkout(&self, project: &Project) -> Option<&Path> {
        other_checkout(&self.instance.marks, project)
    }
}

/// The other directory that made an instance, while that is still there.
pub(super) fn other_checkout<'a>(marks: &'a Marks, project: &Project) -> Option<&'a Path> {
    let path = marks.path.as_deref()?;
    (path != project.directory() && path.exists()).then_some(path)
}

/// How much is asked of an instance.
#[derive(Debug, Clone, Copy)]
enum Detail {
    /// All that there is.
    Whole,
    /// Neither snapshots nor address.
    Brief,
}

/// Whether an instance belongs to an env of a project, by our marks. An unmarked one that the file
/// lists by its exact name is the original's, and adopted, unless its engine knows better.
pub(crate) fn is_ours(instance: &Instance, project: &Project, env: &EnvName) -> bool {
    let marks = &instance.marks;
    if instance.is_foreign {
        return false;
    }
    let unmarked = marks.project.is_none() && marks.env.is_none();
    unmarked || (marks.project == project.name() && marks.env.as_ref() == Some(env))
}

impl Operations {
    /// Finds the instance of an env in the engines.
    ///
    /// # Errors
    /// `NotFound` where the file or no engine has it, `NotOurs` where it is somebody else's,
    /// `Unreachable` or `PermissionDenied` where no engine can be asked.
    pub(super) async fn resolve(&self, project: &Project, env: &EnvName) -> Result<ResolvedEnv> {
        self.resolve_with(project, env, Detail::Whole).await
    }

    /// The same without snapshots and address, in less time.
    pub(super) async fn resolve_brief(
        &self,
        project: &Project,
        env: &EnvName,
    ) -> Result<ResolvedEnv> {
        self.resolve_with(project, env, Detail::Brief).await
    }

    /// An env that the file names, as other processes know it.
    ///
    /// # Errors
    /// `NotFound`, naming those that there are.
    pub fn known_env(&self, project: &Project, env: &EnvName) -> Result<EnvRef> {
        if project.file().entry(env).is_some() {
            return Ok(project.env_ref(env));
        }
        let known = project.file().env_names();
        let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("{} has no env `{env}`", label(project));
        let hint = match known.as_slice() {
            [] => format!("make it: `lxc-dev-manager container create {env} debian:12`"),
            _ => format!("there are {}", known.join(", ")),
        };
        Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
    }

    async fn resolve_with(
        &self,
        project: &Project,
        env: &EnvName,
        detail: Detail,
    ) -> Result<ResolvedEnv> {
        self.known_env(project, env)?;
        let name = project.instance(env)?;
        match self.find_in(&name, detail).await? {
            Some(resolved) if is_ours(&resolved.instance, project, env) => {
                self.known_engines.add(&self.home, resolved.backend.id())?;
                Ok(resolved)
            }
            Some(resolved) => Err(not_ours(&resolved, &name)),
            None => {
                if let Some(error) = self.renamed_by_hand(project, env, &name).await {
                    return Err(error);
                }
                let image = project.file().image(env);
                let image = image.map_or("debian:12".to_owned(), |image| image.to_string());
                let message = format!("`{env}` is in {FILE_NAME}, but no engine has `{name}`");
                Err(Error::new(ErrorKind::NotFound, message).with_hint(format!(
                    "make it: `lxc-dev-manager container create {env} {image}`"
                )))
            }
        }
    }

    /// What to say of an env whose instance somebody has given another name past us, if that is so.
    async fn renamed_by_hand(
        &self,
        project: &Project,
        env: &EnvName,
        name: &InstanceName,
    ) -> Option<Error> {
        for backend in &self.backends {
            let all = backend.list_brief().await.unwrap_or_default();
            let is_it = |instance: &&Instance| {
                !instance.name.is_undo()
                    && !instance.is_foreign
                    && instance.marks.operation.is_none()
                    && instance.marks.path.as_deref() == Some(project.directory())
                    && instance.marks.env.as_ref() == Some(env)
                    && is_ours(instance, project, env)
            };
            if let Some(found) = all.iter().find(is_it) {
                let (kind, now) = (backend.kind(), &found.name);
                let message = format!("`{name}` was renamed to `{now}` in {kind}, past us");
                let command = match kind {
                    EngineKind::Lxd => "lxc",
                    EngineKind::Incus => "incus",
                    EngineKind::Lima => "limactl",
                    EngineKind::Fake => "fake",
                };
                let hint = format!("give it its name back: `{command} rename {now} {name}`");
                return Some(Error::new(ErrorKind::Conflict, message).with_hint(hint));
            }
        }
        None
    }

    /// The instance of this exact name, in the first engine that has it.
    ///
    /// # Errors
    /// Where none has it: why an engine could not be asked that has held an env before, for it may have
    /// it; and why none answers, where none does.
    pub(super) async fn find(&self, name: &InstanceName) -> Result<Option<ResolvedEnv>> {
        self.find_in(name, Detail::Whole).await
    }

    async fn find_in(&self, name: &InstanceName, detail: Detail) -> Result<Option<ResolvedEnv>> {
        let (mut failures, mut doubt, mut asked) = (Vec::new(), None, false);
        for backend in &self.backends {
            let answer = match detail {
                Detail::Whole => backend.instance(name).await,
                Detail::Brief => backend.brief(name).await,
            };
            match answer {
                Ok(instance) => {
                    return Ok(Some(ResolvedEnv {
                        backend: backend.clone(),
                        instance,
                    }));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => asked = true,
                Err(error) if self.may_hold_envs(backend.as_ref())? => {
                    doubt = doubt.or(Some(error))
                }
                Err(error) => failures.push(error),
            }
        }
        match (doubt, asked) {
            (Some(error), _) => Err(error),
            (None, true) => Ok(None),
            (None, false) => Err(self.no_engine_reachable(failures)),
        }
    }

    /// Whether an engine that doesn't answer may hold an env of ours all the same.
    pub(super) fn may_hold_envs(&self, backend: &dyn Backend) -> Result<bool> {
        Ok(backend.is_installed() && self.known_engines.contains(&self.home, backend.id())?)
    }

    /// The engine for a new env: the one that holds envs of this project, else the first that
    /// answers.
    ///
    /// # Errors
    /// Why none can be asked.
    pub(super) async fn engine_for_new_env(&self, project: &Project) -> Result<Arc<dyn Backend>> {
        let mut failures = Vec::new();
        let mut first = None;
        for backend in &self.backends {
            match backend.list_brief().await {
                Ok(instances) => {
                    let ours = |instance: &Instance| {
                        instance.marks.path.as_deref() == Some(project.directory())
                    };
                    if instances.iter().any(ours) {
                        return Ok(backend.clone());
                    }
                    first.get_or_insert_with(|| backend.clone());
                }
                Err(error) => failures.push(error),
            }
        }
        first.ok_or_else(|| self.no_engine_reachable(failures))
    }

    /// One error of all that kept us from asking. Who means a remote is helped by no other engine.
    pub(super) fn no_engine_reachable(&self, mut failures: Vec<Error>) -> Error {
        match self.backends.iter().all(|backend| backend.id().is_remote()) {
            true if !failures.is_empty() => failures.swap_remove(0),
            _ => no_engine(failures),
        }
    }
}

/// How messages call a project.
pub(super) fn label(project: &Project) -> String {
    match project.name() {
        Some(name) => format!("project `{name}`"),
        None => format!("the project in {}", project.directory().display()),
    }
}

/// Refuses an instance whose marks name somebody else.
pub(super) fn not_ours(resolved: &ResolvedEnv, name: &InstanceName) -> Error {
    let marks = &resolved.instance.marks;
    if resolved.instance.is_foreign {
        let message = format!("{} has a `{name}` that isn't ours", resolved.backend.kind());
        return Error::new(ErrorKind::NotOurs, message)
            .with_hint("choose another name for the env, or for the project");
    }
    let project = marks.project.as_ref().map_or("none", |name| name.as_str());
    let env = marks.env.as_ref().map_or("none", |name| name.as_str());
    let message = format!(
        "instance `{name}` in {} belongs to project `{project}`, env `{env}`",
        resolved.backend.kind()
    );
    Error::new(ErrorKind::NotOurs, message)
        .with_hint("choose another name for the env, or for the project")
}

/// What to do on a machine without an engine.
pub(super) const INSTALL: &str = if cfg!(target_os = "macos") {
    "install one: `brew install lima`"
} else {
    "install one: `sudo apt install incus`"
};

/// One error of several engines: the one that a user can mend first, with the others as causes.
fn no_engine(mut failures: Vec<Error>) -> Error {
    failures.sort_by_key(|error| error.kind() == ErrorKind::Unreachable);
    let told: Vec<String> = failures
        .iter()
        .map(|error| error.report().message)
        .collect();
    match failures.into_iter().next() {
        Some(first) if first.kind() != ErrorKind::Unreachable => first,
        Some(first) => Error::new(ErrorKind::Unreachable, "no engine answers")
            .with_hint(format!(
                "{INSTALL}; or {}",
                first.hint().unwrap_or("start it")
            ))
            .caused_by(Error::new(ErrorKind::Unreachable, told.join("; "))),
        None => Error::new(ErrorKind::Unreachable, "no engine is known on this machine")
            .with_hint(INSTALL),
    }
}
