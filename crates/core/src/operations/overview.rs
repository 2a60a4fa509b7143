//! The view of everything: engines, projects and envs.

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
    BackendChoice, EngineId, EngineKind, EnvName, EnvStatus, GuestPort, InstanceName, PortState,
    Reach, RemoteName,
};
use crate::project::Project;
use crate::view::{
    EngineView, EnvRef, EnvView, OperationKind, OperationView, PortView, ProjectView, SnapshotView,
    UndoView, View,
};

/// What we know of an env beyond its file and its engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Overlay {
    pub(crate) sessions: u32,
    pub(crate) operation: Option<OperationView>,
    pub(crate) problem: Option<ErrorReport>,
    pub(crate) undo: Option<UndoView>,
}

/// What the engines answered, by instance name; the first engine that has a name counts.
type Found = HashMap<InstanceName, (EngineKind, Instance)>;

/// How an engine is asked for its instances.
pub(super) type ListInstances = for<'a> fn(&'a dyn Backend) -> BoxFuture<'a, Result<Vec<Instance>>>;

/// Projects by the engines that their files mean: a remote, or a kind.
type ByEngines = BTreeMap<(Option<RemoteName>, BackendChoice), Vec<Project>>;

/// What engines on other machines have answered last.
pub(crate) type RemoteAnswers = HashMap<EngineId, Result<Vec<Instance>, ErrorReport>>;

/// The files of some projects, before any engine is asked.
pub(crate) struct ProjectFiles {
    by_engines: ByEngines,
    unreadable: Vec<ProjectView>,
}

/// How engines are asked.
#[derive(Clone, Copy)]
struct EngineQuery<'a> {
    ask: ListInstances,
    /// Those on other machines aren't: this is what they have answered.
    remote_engines: Option<&'a RemoteAnswers>,
}

/// What is known of the instances of some engines.
#[derive(Default)]
struct EngineStates {
    engines: Vec<EngineView>,
    found: Found,
    /// Whether each instance that there may be has been seen.
    complete: bool,
}

/// What our own state says of all envs.
struct LocalState {
    undo: Vec<(EnvRef, UndoView)>,
    sessions: HashMap<InstanceName, u32>,
}

impl Operations {
    /// The view of these project directories. An engine that doesn't answer, and a file that can't
    /// be read, are part of it.
    ///
    /// # Errors
    /// Only where our own state can't be read.
    pub async fn overview(&self, directories: &[PathBuf]) -> Result<View> {
        self.overview_by(directories, |backend| backend.instances())
            .await
    }

    /// The same without snapshots, in less time.
    ///
    /// # Errors
    /// Those of [`Operations::overview`].
    pub async fn overview_brief(&self, directories: &[PathBuf]) -> Result<View> {
        self.overview_by(directories, |backend| backend.list_brief())
            .await
    }

    async fn overview_by(&self, directories: &[PathBuf], ask: ListInstances) -> Result<View> {
        let remote_engines = None;
        self.overview_of(
            read_projects(directories),
            EngineQuery {
                ask,
                remote_engines,
            },
        )
        .await
    }

    /// The view of these projects, in which engines on other machines hold nobody up: they are as they have
    /// answered last, and away where they haven't yet.
    ///
    /// # Errors
    /// Those of [`Operations::overview`].
    pub(crate) async fn overview_with_remotes(
        &self,
        read_projects: ProjectFiles,
        remote_engines: &RemoteAnswers,
    ) -> Result<View> {
        let asking = EngineQuery {
            ask: |backend| backend.instances(),
            remote_engines: Some(remote_engines),
        };
        self.overview_of(read_projects, asking).await
    }

    /// The engines on other machines that the files of these projects mean.
    pub(crate) fn remote_engines(&self, read_projects: &ProjectFiles) -> Vec<Arc<dyn Backend>> {
        let meant = read_projects.by_engines.keys();
        // One that can't be used is a problem of its projects, which the view has.
        let meant = meant.flat_map(|(remote, choice)| {
            let found = self.engines_for(remote.as_ref(), *choice);
            found.unwrap_or_default()
        });
        meant.filter(|backend| backend.id().is_remote()).collect()
    }

    /// Asks an engine on another machine what it has.
    ///
    /// # Errors
    /// The engine's, of now or of a moment ago.
    pub(crate) async fn list_remote(&self, backend: &dyn Backend) -> Result<Vec<Instance>> {
        self.unreachable
            .ask(backend, |backend| backend.instances())
            .await
    }

    /// An engine answers: what it didn't a moment ago is over.
    pub(crate) fn mark_reachable(&self, id: &EngineId) {
        self.unreachable.delete_entry(id);
    }

    async fn overview_of(
        &self,
        read_projects: ProjectFiles,
        asking: EngineQuery<'_>,
    ) -> Result<View> {
        let mut view = View {
            projects: read_projects.unreadable,
            ..View::default()
        };
        let known = LocalState {
            undo: self.undoable()?,
            sessions: session::count(&self.home)?,
        };
        let asked = read_projects.by_engines.iter();
        let asked = asked.map(|((remote, choice), projects)| {
            let seen = self.see(remote.as_ref(), *choice, asking);
            seen.map(move |seen| (projects, seen))
        });
        for (projects, seen) in futures_util::future::join_all(asked).await {
            let (seen, problem) = match seen {
                Ok(seen) => (seen, None),
                Err(error) => (EngineStates::default(), Some(error.report())),
            };
            let shown = projects.iter().map(|project| {
                let mut shown = project_view(project, &seen, &known);
                shown.problem = shown.problem.or(problem.clone());
                shown
            });
            view.projects.extend(shown);
            view.engines.extend(seen.engines);
        }
        let place = |project: &ProjectView| (project.label().to_owned(), project.path.clone());
        view.projects.sort_by_cached_key(place);
        Ok(view)
    }

    async fn answer(
        &self,
        backend: &dyn Backend,
        asking: EngineQuery<'_>,
    ) -> Result<Vec<Instance>> {
        match asking.remote_engines {
            Some(answers) if backend.id().is_remote() => match answers.get(backend.id()) {
                Some(answer) => answer.clone().map_err(Error::from),
                None => {
                    let message = format!("{} hasn't answered yet", backend.id());
                    Err(Error::new(ErrorKind::Unreachable, message))
                }
            },
            _ => self.unreachable.ask(backend, asking.ask).await,
        }
    }

    /// Asks all engines that may have what is at a remote, or at none and of a kind.
    async fn see(
        &self,
        remote: Option<&RemoteName>,
        choice: BackendChoice,
        asking: EngineQuery<'_>,
    ) -> Result<EngineStates> {
        let backends = self.engines_for(remote, choice)?;
        let asked = backends
            .iter()
            .map(|backend| self.answer(backend.as_ref(), asking));
        let answers = futures_util::future::join_all(asked).await;
        let mut seen = EngineStates::default();
        let mut doubt = false;
        // What isn't there is worth a word only where nothing is.
        let any = backends.iter().any(|backend| backend.is_installed());
        for (backend, answer) in backends.iter().zip(answers) {
            let id = backend.id().clone();
            let problem = answer.as_ref().err().map(Error::report);
            seen.complete |= problem.is_none();
            if problem.is_some() {
                doubt |= self.may_hold_envs(backend.as_ref())?;
                if any && !backend.is_installed() {
                    continue;
                }
            }
            seen.engines.push(EngineView {
                kind: id.kind,
                address: id.address.clone(),
                reachable: problem.is_none(),
                problem,
            });
            for instance in answer.unwrap_or_default() {
                let found = seen.found.entry(instance.name.clone());
                found.or_insert((id.kind, instance));
            }
        }
        seen.complete &= !doubt;
        Ok(seen)
    }
}

/// Reads the files of these projects.
pub(crate) fn read_projects(directories: &[PathBuf]) -> ProjectFiles {
    let (mut by_engines, mut unreadable) = (ByEngines::new(), Vec::new());
    for directory in directories {
        let opened = Project::open(directory);
        match opened.and_then(|project| Ok((engines_of(&project)?, project))) {
            Ok((engines, project)) => by_engines.entry(engines).or_default().push(project),
            Err(error) => unreadable.push(unreadable_view(directory, &error)),
        }
    }
    // Without a project there are engines still.
    if by_engines.is_empty() {
        by_engines.insert((None, BackendChoice::Auto), Vec::new());
    }
    ProjectFiles {
        by_engines,
        unreadable,
    }
}

/// Which engines a project's file means.
fn engines_of(project: &Project) -> Result<(Option<RemoteName>, BackendChoice)> {
    Ok((project.file().remote()?, project.file().backend()?))
}

fn unreadable_view(directory: &Path, error: &Error) -> ProjectView {
    ProjectView {
        name: None,
        path: directory.display().to_string(),
        problem: Some(error.report()),
        envs: Vec::new(),
    }
}

fn project_view(project: &Project, seen: &EngineStates, known: &LocalState) -> ProjectView {
    let mut problem = None;
    let mut envs = Vec::new();
    for name in project.file().env_names() {
        let instance = project
            .instance(&name)
            .ok()
            .and_then(|instance| seen.found.get(&instance));
        let env = project.env_ref(&name);
        // The removal of an env that is there was taken back, or is another's of that name.
        let mut undoable = known.undo.iter().filter(|(of, undo)| {
            *of == env && (instance.is_none() || undo.kind != OperationKind::Remove)
        });
        let overlay = Overlay {
            undo: undoable.next().map(|(_, undo)| undo.clone()),
            sessions: instance
                .and_then(|(_, found)| known.sessions.get(&found.name).copied())
                .unwrap_or_default(),
            ..Overlay::default()
        };
        match env_view(
            project,
            &name,
            instance.map(|(k, i)| (*k, i)),
            seen.complete,
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
        envs,
    }
}

/// The view of one env.
pub(crate) fn env_view(
    project: &Project,
    name: &EnvName,
    found: Option<(EngineKind, &Instance)>,
    complete: bool,
    mut overlay: Overlay,
) -> Result<EnvView> {
    let file = project.file();
    let ours = found.filter(|(_, instance)| is_ours(instance, project, name));
    if found.is_some() && ours.is_none() && overlay.problem.is_none() {
        let message = "an instance of this name belongs to another project";
        overlay.problem = Some(Error::new(ErrorKind::NotOurs, message).report());
    }
    let status = match ours {
        Some((_, instance)) => instance.status,
        None if complete => EnvStatus::NotFound,
        None => EnvStatus::Unreachable,
    };
    let instance = ours.map(|(_, instance)| instance);
    Ok(EnvView {
        project: project.name(),
        name: name.clone(),
        instance: project.instance(name)?,
        engine: ours.map(|(kind, _)| kind),
        location: instance.and_then(|found| found.location.clone()),
        checkout: instance
            .and_then(|found| other_checkout(&found.marks, project))
            .map(|path| path.display().to_string()),
        image: file.image(name),
        status,
        address: instance
            .and_then(|found| found.address)
            .map(|address| address.to_string()),
        ports: port_views(project, name, instance)?,
        wake: file.wake(name),
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
    })
}

fn port_views(
    project: &Project,
    env: &EnvName,
    instance: Option<&Instance>,
) -> Result<Vec<PortView>> {
    let native = instance.map_or(&[][..], |found| &found.settings.native_ports);
    let view = |port: GuestPort| {
        let mut view = port_view(port, project.file().reach(env, port)?);
        if native.contains(&port) {
            view.state = PortState::Native;
        }
        Ok(view)
    };
    project.file().ports(env)?.into_iter().map(view).collect()
}

fn port_view(guest: GuestPort, reach: Reach) -> PortView {
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

/// The engine is the truth for existence and time, the file for descriptions.
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
            description: match snapshot.is_broken {
                true => Some("broken: it can only be deleted".to_owned()),
                false => described(snapshot.name.as_str()),
            },
        })
        .collect()
}
