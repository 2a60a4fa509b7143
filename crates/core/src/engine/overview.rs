//! The view of everything: engines, projects and envs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Engine, is_ours};
use crate::backend::{Backend, Instance};
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{EngineKind, EnvName, EnvStatus, GuestPort, InstanceName, PortState};
use crate::project::Project;
use crate::view::{
    EngineView, EnvRef, EnvView, OperationView, PortView, ProjectView, SnapshotView, UndoView,
    Verb, View,
};

/// How much is asked of the instances.
#[derive(Debug, Clone, Copy)]
enum Depth {
    /// All that there is.
    Whole,
    /// No snapshots.
    Glance,
}

/// What we know of an env beyond its file and its engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Overlay {
    pub(crate) operation: Option<OperationView>,
    pub(crate) problem: Option<ErrorReport>,
    pub(crate) undo: Option<UndoView>,
}

/// What the engines answered, by instance name; the first engine that has a name counts.
type Found = HashMap<InstanceName, (EngineKind, Instance)>;

impl Engine {
    /// The view of these project directories. An engine that doesn't answer, and a file that can't
    /// be read, are part of it.
    ///
    /// # Errors
    /// Only where our own state can't be read.
    pub async fn overview(&self, directories: &[PathBuf]) -> Result<View> {
        self.overview_in(directories, Depth::Whole).await
    }

    /// The same without snapshots, in less time.
    ///
    /// # Errors
    /// Those of [`Engine::overview`].
    pub async fn overview_at_a_glance(&self, directories: &[PathBuf]) -> Result<View> {
        self.overview_in(directories, Depth::Glance).await
    }

    /// Projects that name a remote are looked for there, all others here.
    fn overview_in<'a>(
        &'a self,
        directories: &'a [PathBuf],
        depth: Depth,
    ) -> BoxFuture<'a, Result<View>> {
        async move {
            let (mut here, mut there) = (Vec::new(), Vec::new());
            let mut view = View::default();
            for directory in directories {
                let elsewhere = Project::open(directory)
                    .ok()
                    .map(|project| self.elsewhere(&project));
                match elsewhere.unwrap_or(Ok(None)) {
                    Ok(None) => here.push(directory.clone()),
                    Ok(Some(engine)) => there.push((engine, directory.clone())),
                    Err(error) => view.projects.push(broken(directory, &error)),
                }
            }
            let own = match depth {
                Depth::Whole => {
                    self.overview_by(&here, |backend| backend.instances())
                        .await?
                }
                Depth::Glance => self.overview_by(&here, |backend| backend.glance()).await?,
            };
            view.engines.extend(own.engines);
            view.projects.extend(own.projects);
            for (engine, directory) in there {
                let one = engine
                    .overview_in(std::slice::from_ref(&directory), depth)
                    .await?;
                let known: Vec<String> = view.engines.iter().map(|e| e.address.clone()).collect();
                let new = one.engines.into_iter();
                let new = new.filter(|found| !known.contains(&found.address));
                view.engines.extend(new);
                view.projects.extend(one.projects);
            }
            let order = |project: &ProjectView| (project.label().to_owned(), project.path.clone());
            view.projects.sort_by_key(order);
            Ok(view)
        }
        .boxed()
    }

    async fn overview_by<'a>(
        &'a self,
        directories: &[PathBuf],
        ask: impl Fn(&'a dyn Backend) -> BoxFuture<'a, Result<Vec<Instance>>>,
    ) -> Result<View> {
        let asked = self
            .backends
            .iter()
            .map(|backend| ask(backend.as_ref()).map(move |answer| (backend, answer)));
        let mut engines = Vec::new();
        let mut found = Found::new();
        // Whether each env that there may be has been seen.
        let mut complete = false;
        let mut doubt = false;
        // What isn't there is worth a word only where nothing is.
        let any = self.backends.iter().any(|backend| backend.is_installed());
        for (backend, answer) in futures_util::future::join_all(asked).await {
            let id = backend.id().clone();
            let problem = answer.as_ref().err().map(Error::report);
            complete |= problem.is_none();
            if problem.is_some() {
                doubt |= self.may_hold_envs(backend.as_ref())?;
                if any && !backend.is_installed() {
                    continue;
                }
            }
            engines.push(EngineView {
                kind: id.kind,
                address: id.address.clone(),
                reachable: problem.is_none(),
                problem,
            });
            for instance in answer.unwrap_or_default() {
                found
                    .entry(instance.name.clone())
                    .or_insert((id.kind, instance));
            }
        }
        let complete = complete && !doubt;
        let undo = self.undoable()?;
        let projects = directories
            .iter()
            .map(|directory| project_view(directory, &found, complete, &undo))
            .collect();
        Ok(View { engines, projects })
    }
}

/// A project whose file or engine can't be used.
fn broken(directory: &Path, error: &Error) -> ProjectView {
    ProjectView {
        name: None,
        path: directory.display().to_string(),
        problem: Some(error.report()),
        envs: Vec::new(),
    }
}

fn project_view(
    directory: &Path,
    found: &Found,
    complete: bool,
    undo: &[(EnvRef, UndoView)],
) -> ProjectView {
    let project = match Project::open(directory) {
        Ok(project) => project,
        Err(error) => return broken(directory, &error),
    };
    let mut problem = None;
    let mut envs = Vec::new();
    for name in project.file().env_names() {
        let instance = project
            .instance(&name)
            .ok()
            .and_then(|instance| found.get(&instance));
        let env = project.env_ref(&name);
        // The removal of an env that is there was taken back, or is another's of that name.
        let mut undoable = undo
            .iter()
            .filter(|(of, undo)| *of == env && (instance.is_none() || undo.verb != Verb::Remove));
        let overlay = Overlay {
            undo: undoable.next().map(|(_, undo)| undo.clone()),
            ..Overlay::default()
        };
        match env_view(
            &project,
            &name,
            instance.map(|(k, i)| (*k, i)),
            complete,
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
    let ours = found.filter(|(_, instance)| is_ours(&instance.marks, project, name));
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
        image: file.image(name),
        status,
        address: instance
            .and_then(|found| found.address)
            .map(|address| address.to_string()),
        ports: file.ports(name)?.into_iter().map(port_view).collect(),
        snapshots: instance
            .map(|found| snapshot_views(project, name, found))
            .unwrap_or_default(),
        limits: match instance {
            Some(found) => found.settings.limits,
            None => file.limits(name)?,
        },
        operation: overlay.operation,
        problem: overlay.problem,
        undo: overlay.undo,
    })
}

fn port_view(guest: GuestPort) -> PortView {
    let host = guest.on_host();
    PortView {
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
            description: described(snapshot.name.as_str()),
        })
        .collect()
}
