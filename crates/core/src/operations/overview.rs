//! Reading the view: engines, projects and envs.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::resolve::other_checkout;
use super::{Operations, is_ours, session};
use crate::backend::{Backend, Instance};
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{
    BackendChoice, EngineId, EngineKind, EnvName, EnvStatus, GuestPort, InstanceName, ListenScope,
    PortState, RemoteName,
};
use crate::project::{HostPart, Project, Trust, not_trusted};
use crate::view::{
    AllowedActions, EngineView, EnvRef, EnvView, OperationKind, OperationView, PortView,
    ProjectView, SnapshotView, UndoView, View,
};

/// State of an env that is neither in its file nor in its engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Overlay {
    pub(crate) sessions: u32,
    pub(crate) operation: Option<OperationView>,
    pub(crate) problem: Option<ErrorReport>,
    pub(crate) undo: Option<UndoView>,
    /// Whether the file may reach the host. Otherwise it opens no port to the network and wakes no env.
    pub(crate) is_trusted: bool,
}

/// Instances by name; of two engines with the same name, the first one counts.
type InstancesByName = HashMap<InstanceName, (EngineKind, Instance)>;

pub(super) type ListInstances = for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, Result<Vec<Instance>>>;

/// Projects by the remote or kind of engine that their files name.
type ByEngines = BTreeMap<(Option<RemoteName>, BackendChoice), Vec<Project>>;

/// The last answers of remote engines.
pub(crate) type RemoteAnswers = HashMap<EngineId, Result<Vec<Instance>, ErrorReport>>;

/// The files of projects, read before their engines.
pub(crate) struct ProjectFiles {
    by_engines: ByEngines,
    unreadable: Vec<ProjectView>,
}

#[derive(Clone, Copy)]
struct EngineQuery<'a> {
    list: ListInstances,
    /// Used instead of connecting to remote engines.
    remote_answers: Option<&'a RemoteAnswers>,
}

#[derive(Default)]
struct EngineStates {
    engines: Vec<EngineView>,
    instances: InstancesByName,
    /// Whether all engines that may have envs answered.
    complete: bool,
}

/// This program's own state of all envs.
struct LocalState {
    undo: Vec<(EnvRef, UndoView)>,
    sessions: HashMap<InstanceName, u32>,
    trust: Trust,
}

impl Operations {
    /// Reads the view of these project directories. Unreachable engines and invalid files are part of it.
    ///
    /// # Errors
    /// `Io` if this program's own state cannot be read.
    pub async fn overview(&self, directories: &[PathBuf]) -> Result<View> {
        self.overview_by(directories, |backend| backend.instances())
            .await
    }

    /// Like [`Operations::overview`], without snapshots, which is faster.
    ///
    /// # Errors
    /// Those of [`Operations::overview`].
    pub async fn overview_brief(&self, directories: &[PathBuf]) -> Result<View> {
        self.overview_by(directories, |backend| backend.list_brief())
            .await
    }

    async fn overview_by(&self, directories: &[PathBuf], list: ListInstances) -> Result<View> {
        let query = EngineQuery {
            list,
            remote_answers: None,
        };
        self.overview_of(read_projects(directories, &self.trust()), query)
            .await
    }

    /// Reads the view with the last answers of remote engines, which would delay it.
    ///
    /// # Errors
    /// Those of [`Operations::overview`].
    pub(crate) async fn overview_with_remotes(
        &self,
        files: ProjectFiles,
        remote_answers: &RemoteAnswers,
    ) -> Result<View> {
        let query = EngineQuery {
            list: |backend| backend.instances(),
            remote_answers: Some(remote_answers),
        };
        self.overview_of(files, query).await
    }

    /// The remote engines that these projects use.
    pub(crate) fn remote_engines(&self, files: &ProjectFiles) -> Vec<Arc<dyn Backend>> {
        let keys = files.by_engines.keys();
        // The view shows the error of an unusable one.
        let engines = keys.flat_map(|(remote, choice)| {
            let engines = self.engines_for(remote.as_ref(), *choice);
            engines.unwrap_or_default()
        });
        engines.filter(|backend| backend.id().is_remote()).collect()
    }

    /// Lists the instances of a remote engine.
    ///
    /// # Errors
    /// Those of the engine, perhaps cached.
    pub(crate) async fn list_remote(&self, backend: &dyn Backend) -> Result<Vec<Instance>> {
        self.unreachable
            .list(backend, |backend| backend.instances())
            .await
    }

    /// Drops the cached error of an engine that is reachable again.
    pub(crate) fn mark_reachable(&self, id: &EngineId) {
        self.unreachable.remove(id);
    }

    async fn overview_of(&self, files: ProjectFiles, query: EngineQuery<'_>) -> Result<View> {
        let mut view = View {
            projects: files.unreadable,
            ..View::default()
        };
        let local = LocalState {
            undo: self.undoable()?,
            sessions: session::count(&self.home)?,
            trust: self.trust(),
        };
        let queries = files.by_engines.iter();
        let queries = queries.map(|((remote, choice), projects)| {
            let states = self.query_engines(remote.as_ref(), *choice, query);
            states.map(move |states| (projects, states))
        });
        for (projects, states) in futures_util::future::join_all(queries).await {
            let (states, problem) = match states {
                Ok(states) => (states, None),
                Err(error) => (EngineStates::default(), Some(error.report())),
            };
            let views = projects.iter().map(|project| {
                let mut view = project_view(project, &states, &local);
                view.problem = view.problem.or(problem.clone());
                view
            });
            view.projects.extend(views);
            view.engines.extend(states.engines);
        }
        let key = |project: &ProjectView| (project.label().to_owned(), project.path.clone());
        view.projects.sort_by_cached_key(key);
        Ok(view)
    }

    async fn list_instances(
        &self,
        backend: &dyn Backend,
        query: EngineQuery<'_>,
    ) -> Result<Vec<Instance>> {
        match query.remote_answers {
            Some(answers) if backend.id().is_remote() => match answers.get(backend.id()) {
                Some(answer) => answer.clone().map_err(Error::from),
                None => {
                    let message = format!("{} has not answered yet", backend.id());
                    Err(Error::new(ErrorKind::Unreachable, message))
                }
            },
            _ => self.unreachable.list(backend, query.list).await,
        }
    }

    /// Queries the engines of a remote, or of a kind.
    async fn query_engines(
        &self,
        remote: Option<&RemoteName>,
        choice: BackendChoice,
        query: EngineQuery<'_>,
    ) -> Result<EngineStates> {
        let backends = self.engines_for(remote, choice)?;
        let queries = backends
            .iter()
            .map(|backend| self.list_instances(backend.as_ref(), query));
        let answers = futures_util::future::join_all(queries).await;
        let mut states = EngineStates::default();
        let mut uncertain = false;
        // Engines that are not installed are only shown if none is.
        let any = backends.iter().any(|backend| backend.is_installed());
        for (backend, answer) in backends.iter().zip(answers) {
            let id = backend.id().clone();
            let problem = answer.as_ref().err().map(Error::report);
            states.complete |= problem.is_none();
            if problem.is_some() {
                uncertain |= self.may_hold_envs(backend.as_ref())?;
                if any && !backend.is_installed() {
                    continue;
                }
            }
            states.engines.push(EngineView {
                kind: id.kind,
                address: id.address.clone(),
                reachable: problem.is_none(),
                problem,
            });
            for instance in answer.unwrap_or_default() {
                let entry = states.instances.entry(instance.name.clone());
                entry.or_insert((id.kind, instance));
            }
        }
        states.complete &= !uncertain;
        Ok(states)
    }
}

pub(crate) fn read_projects(directories: &[PathBuf], trust: &Trust) -> ProjectFiles {
    let (mut by_engines, mut unreadable) = (ByEngines::new(), Vec::new());
    for directory in directories {
        let opened = Project::open(directory);
        match opened.and_then(|project| Ok((engines_of(&project, trust)?, project))) {
            Ok((engines, project)) => by_engines.entry(engines).or_default().push(project),
            Err(error) => unreadable.push(unreadable_view(directory, &error)),
        }
    }
    // Engines are shown without a project, too.
    if by_engines.is_empty() {
        by_engines.insert((None, BackendChoice::Auto), Vec::new());
    }
    ProjectFiles {
        by_engines,
        unreadable,
    }
}

/// The remote and kind of engine that a project's file names.
fn engines_of(project: &Project, trust: &Trust) -> Result<(Option<RemoteName>, BackendChoice)> {
    let remote = project.file().remote()?;
    trust.ensure_remote(project)?;
    Ok((remote, project.file().backend()?))
}

fn unreadable_view(directory: &Path, error: &Error) -> ProjectView {
    ProjectView {
        name: None,
        path: directory.display().to_string(),
        problem: Some(error.report()),
        untrusted: Vec::new(),
        envs: Vec::new(),
    }
}

fn project_view(project: &Project, states: &EngineStates, local: &LocalState) -> ProjectView {
    let (untrusted, mut problem) = match local.trust.untrusted(project) {
        Ok(parts) => (parts, None),
        Err(error) => (Vec::new(), Some(error.report())),
    };
    if !untrusted.is_empty() {
        problem = Some(not_trusted(project, &untrusted).report());
    }
    let mut envs = Vec::new();
    for name in project.file().env_names() {
        let instance = project
            .instance(&name)
            .ok()
            .and_then(|instance| states.instances.get(&instance));
        let env = project.env_ref(&name);
        // The removal of an existing env was undone, or concerns an earlier env of that name.
        let mut undoable = local.undo.iter().filter(|(of, undo)| {
            *of == env && (instance.is_none() || undo.kind != OperationKind::Remove)
        });
        let overlay = Overlay {
            undo: undoable.next().map(|(_, undo)| undo.clone()),
            sessions: instance
                .and_then(|(_, found)| local.sessions.get(&found.name).copied())
                .unwrap_or_default(),
            is_trusted: local.trust.ensure(project, &name, &[]).is_ok(),
            ..Overlay::default()
        };
        match env_view(
            project,
            &name,
            instance.map(|(k, i)| (*k, i)),
            states.complete,
            overlay,
        ) {
            Ok(view) => envs.push(view),
            Err(error) => problem = Some(error.report()),
        }
    }
    ProjectView {
        name: project.name(),
        path: project.directory().display().to_string(),
        problem,
        untrusted: untrusted.iter().map(HostPart::view).collect(),
        envs,
    }
}

pub(crate) fn env_view(
    project: &Project,
    name: &EnvName,
    found: Option<(EngineKind, &Instance)>,
    complete: bool,
    mut overlay: Overlay,
) -> Result<EnvView> {
    let file = project.file();
    let own = found.filter(|(_, instance)| is_ours(instance, project, name));
    if found.is_some() && own.is_none() && overlay.problem.is_none() {
        let message = "an instance of this name belongs to another project";
        overlay.problem = Some(Error::new(ErrorKind::NotOurs, message).report());
    }
    if let Some((_, instance)) = own
        && instance.marks.env.is_none()
    {
        let message = format!("not adopted: run `lxc-dev-manager adopt {name}`");
        let problem = Error::new(ErrorKind::NotOurs, message).report();
        overlay.problem.get_or_insert(problem);
    }
    let status = match own {
        Some((_, instance)) => instance.status,
        None if complete => EnvStatus::NotFound,
        None => EnvStatus::Unreachable,
    };
    let instance = own.map(|(_, instance)| instance);
    let mut view = EnvView {
        project: project.name(),
        name: name.clone(),
        instance: project.instance(name)?,
        engine: own.map(|(kind, _)| kind),
        location: instance.and_then(|found| found.location.clone()),
        checkout: instance
            .and_then(|found| other_checkout(&found.marks, project))
            .map(|path| path.display().to_string()),
        image: file.image(name),
        status,
        address: instance
            .and_then(|found| found.address)
            .map(|address| address.to_string()),
        ports: port_views(project, name, instance, overlay.is_trusted)?,
        hosts: file.hosts(name)?,
        wake: overlay.is_trusted && file.wake(name),
        snapshots: instance
            .map(|found| snapshot_views(project, name, found))
            .unwrap_or_default(),
        limits: match instance {
            Some(found) => found.settings.limits,
            None => file.limits(name)?,
        },
        sessions: overlay.sessions,
        operation: overlay.operation,
        problem: overlay.problem,
        undo: overlay.undo,
        actions: AllowedActions::default(),
    };
    view.actions = AllowedActions::of(&view);
    Ok(view)
}

fn port_views(
    project: &Project,
    env: &EnvName,
    instance: Option<&Instance>,
    is_trusted: bool,
) -> Result<Vec<PortView>> {
    let native = instance.map_or(&[][..], |found| &found.settings.native_ports);
    let view = |port: GuestPort| {
        let reach = project.file().reach(env, port)?;
        let reach = if is_trusted {
            reach
        } else {
            ListenScope::Loopback
        };
        let mut view = port_view(port, reach);
        if native.contains(&port) {
            view.state = PortState::Native;
        }
        Ok(view)
    };
    project.file().ports(env)?.into_iter().map(view).collect()
}

fn port_view(guest: GuestPort, reach: ListenScope) -> PortView {
    let host = guest.on_host();
    PortView {
        stable: None,
        reach: reach.is_open().then_some(reach),
        guest,
        host,
        url: format!("http://127.0.0.1:{host}/"),
        state: PortState::Idle,
        focused: false,
    }
}

/// Existence and time come from the engine, descriptions from the file.
fn snapshot_views(project: &Project, env: &EnvName, instance: &Instance) -> Vec<SnapshotView> {
    let described = |name: &str| {
        let entry = project.file().entry(env)?.snapshots.get(name)?;
        entry.description.clone()
    };
    instance
        .snapshots
        .iter()
        .filter(|snapshot| !snapshot.name.is_undo())
        .map(|snapshot| SnapshotView {
            name: snapshot.name.clone(),
            created_at: snapshot.created_at,
            description: if snapshot.is_broken {
                Some("broken: can only be deleted".to_owned())
            } else {
                described(snapshot.name.as_str())
            },
        })
        .collect()
}
