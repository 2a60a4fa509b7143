//! The state of the view, and how inputs change it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::files::FileWatch;
use super::remote_engines::RemoteEngines;
use super::sources::{EngineSubscriptions, Input};
use crate::error::ErrorReport;
use crate::event::EventKind;
use crate::model::{EnvStatus, InstanceName};
use crate::operations::{Operations, read_projects};
use crate::project::FILE_NAME;
use crate::view::{AllowedActions, EnvRef, EnvView, ForwardView, OperationView, Outcome, View};

/// Owner of the view.
pub(super) struct ViewState {
    operations: Arc<Operations>,
    view: watch::Sender<Option<Arc<View>>>,
    outcomes: broadcast::Sender<Outcome>,
    /// Directories of the known projects.
    known: Vec<PathBuf>,
    /// The view of files and engines, without operations, errors and forwards.
    base: View,
    pending: HashMap<EnvRef, OperationView>,
    problems: HashMap<EnvRef, ErrorReport>,
    forwards: Vec<ForwardView>,
    files: FileWatch,
    subscriptions: EngineSubscriptions,
    remote_engines: RemoteEngines,
    inputs: mpsc::Sender<Input>,
    tasks: TaskTracker,
}

impl ViewState {
    pub(super) fn new(
        operations: Arc<Operations>,
        (view, outcomes): (watch::Sender<Option<Arc<View>>>, broadcast::Sender<Outcome>),
        inputs: mpsc::Sender<Input>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            files: FileWatch::new(inputs.clone()),
            subscriptions: EngineSubscriptions::new(
                operations.clone(),
                inputs.clone(),
                tasks.clone(),
                shutdown,
            ),
            remote_engines: RemoteEngines::new(operations.clone(), inputs.clone(), tasks.clone()),
            operations,
            known: Vec::new(),
            view,
            outcomes,
            base: View::default(),
            pending: HashMap::new(),
            problems: HashMap::new(),
            forwards: Vec::new(),
            inputs,
            tasks,
        }
    }

    /// Publishes the view if it has changed.
    fn publish(&mut self) {
        let view = self.with_overlays(self.base.clone());
        self.view.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&view);
            if changed {
                *known = Some(Arc::new(view));
            }
            changed
        });
    }

    pub(super) async fn apply(&mut self, batch: Vec<Input>) {
        let mut instances: Vec<InstanceName> = Vec::new();
        let (mut everything, mut answered) = (false, false);
        let mut outcomes = Vec::new();
        for input in batch {
            match input {
                Input::Instance(name) => instances.push(name),
                Input::Started(name) => {
                    self.await_address(&name);
                    instances.push(name);
                }
                Input::Refresh => everything = true,
                Input::Operation(kind) => outcomes.extend(self.on_operation(kind)),
                Input::RemoteInstances(id, answer) => {
                    answered |= self.remote_engines.accept(id, answer)
                }
            }
        }
        // An operation changes the file and the ledger, too.
        if everything
            || !outcomes.is_empty()
            || instances.iter().any(|name| self.has_instance(name))
        {
            self.refresh_all().await;
        } else if answered {
            self.refresh(false).await;
        } else {
            self.publish();
        }
        for outcome in outcomes {
            // Fails only without subscribers.
            let _ = self.outcomes.send(outcome);
        }
    }

    fn has_instance(&self, name: &InstanceName) -> bool {
        let mut envs = self.base.projects.iter().flat_map(|project| &project.envs);
        envs.any(|env| env.instance == *name)
    }

    fn on_operation(&mut self, kind: EventKind) -> Option<Outcome> {
        match kind {
            EventKind::Started {
                id, env, kind, at, ..
            } => {
                self.problems.remove(&env);
                let operation = OperationView {
                    id,
                    kind,
                    step: None,
                    percent: None,
                    started_at: at,
                };
                self.pending.insert(env, operation);
            }
            EventKind::Progress { id, env, step } => {
                if let Some(operation) = self.pending.get_mut(&env).filter(|o| o.id == id) {
                    operation.step = Some(step.text);
                    operation.percent = step.percent;
                }
            }
            EventKind::Finished(outcome) => {
                self.pending.remove(&outcome.env);
                if let Some(error) = &outcome.error {
                    self.problems.insert(outcome.env.clone(), error.clone());
                }
                return Some(outcome);
            }
            EventKind::Refused { env, error } => {
                self.problems.insert(env, error);
            }
            EventKind::Notice(_) | EventKind::Step(_) | EventKind::Output { .. } => {}
        }
        None
    }

    pub(super) fn set_forwards(&mut self, forwards: Vec<ForwardView>) {
        self.forwards = forwards;
        self.publish();
    }

    pub(super) fn dismiss(&mut self, env: &EnvRef) {
        self.problems.remove(env);
        self.publish();
    }

    /// Reads all projects and engines again.
    pub(super) async fn refresh_all(&mut self) {
        self.refresh(true).await;
    }

    /// Reads all projects and local engines again, and remote engines on request; else their last answers count.
    async fn refresh(&mut self, query_remotes: bool) {
        let files = read_projects(&self.directories(), &self.operations.trust());
        let remotes = self.operations.remote_engines(&files);
        self.subscriptions.set(&remotes);
        if query_remotes {
            self.remote_engines.query(&remotes);
        }
        let answers = self.remote_engines.answers();
        match self.operations.overview_with_remotes(files, answers).await {
            Ok(view) => {
                let starting = without_address(&view);
                let known = without_address(&self.base);
                self.base = view;
                self.publish();
                for name in starting.iter().filter(|name| !known.contains(name)) {
                    self.await_address(name);
                }
            }
            Err(error) => {
                tracing::warn!(?error, "cannot read the overview");
                self.publish();
            }
        }
    }

    /// The directories of known projects that have a file. Watches all of them: an editor may be about to write
    /// a missing file.
    fn directories(&mut self) -> Vec<PathBuf> {
        match self.operations.registry().all() {
            Ok(known) => self.known = known.into_iter().map(|project| project.path).collect(),
            // The known projects stay in the view.
            Err(error) => tracing::warn!(?error, "cannot read the registry"),
        }
        let mut directories = self.known.clone();
        // Creates them, so that they can be watched.
        let home = self.operations.home();
        let own = [home.directory(""), home.directory("run")];
        let own = own.into_iter().flatten();
        self.files
            .set(own.chain(directories.iter().cloned()).collect());
        // After the watch starts, so that no new file is missed.
        directories.retain(|directory| directory.join(FILE_NAME).exists());
        directories
    }

    fn with_overlays(&self, mut view: View) -> View {
        for project in &mut view.projects {
            for env in &mut project.envs {
                self.overlay(&project.path, env);
            }
        }
        view
    }

    fn overlay(&self, path: &str, env: &mut EnvView) {
        let key = EnvRef {
            project_path: path.to_owned(),
            env: env.name.clone(),
        };
        env.apply_forwards(path, &self.forwards);
        env.operation = self.pending.get(&key).cloned();
        if let Some(problem) = self.problems.get(&key) {
            env.problem = Some(problem.clone());
        }
        env.actions = AllowedActions::of(env);
    }

    /// Waits for the address of an instance, for which there is no event, then reads it again.
    fn await_address(&self, name: &InstanceName) {
        if !self.has_instance(name) {
            return;
        }
        let (operations, inputs, name) =
            (self.operations.clone(), self.inputs.clone(), name.clone());
        self.tasks.spawn(async move {
            let found = tokio::select! {
                found = operations.wait_for_address(&name) => found.is_ok(),
                () = inputs.closed() => false,
            };
            if found {
                // Fails only once the watch has ended.
                let _ = inputs.send(Input::Instance(name)).await;
            }
        });
    }
}

/// Running instances without an address.
fn without_address(view: &View) -> Vec<InstanceName> {
    let envs = view.projects.iter().flat_map(|project| &project.envs);
    envs.filter(|env| env.status == EnvStatus::Running && env.address.is_none())
        .map(|env| env.instance.clone())
        .collect()
}
