//! The view itself, and how inputs change it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::BACKLOG;
use super::diff::{diff, whole};
use super::files::FileWatch;
use super::remote_engines::RemoteEngines;
use super::sources::{Following, Input};
use crate::error::ErrorReport;
use crate::event::EventKind;
use crate::model::{EnvStatus, InstanceName};
use crate::operations::{Operations, read_projects};
use crate::project::FILE_NAME;
use crate::view::{
    EnvRef, EnvView, ForwardView, OperationView, Outcome, View, ViewEvent, ViewPatch,
};

/// Someone who listens, with numbers of its own.
struct Subscriber {
    channel: mpsc::Sender<ViewEvent>,
    seq: u64,
}

impl Subscriber {
    /// Whether it still keeps up.
    fn tell(&mut self, patch: &ViewPatch) -> bool {
        self.seq += 1;
        self.channel
            .try_send(ViewEvent {
                seq: self.seq,
                patch: patch.clone(),
            })
            .is_ok()
    }
}

pub(super) struct Fold {
    operations: Arc<Operations>,
    /// Directories of the known projects, as they could be read last.
    known: Vec<PathBuf>,
    /// What files and engines say.
    base: View,
    /// The same with operations and problems: what was told.
    view: View,
    subscribers: Vec<Subscriber>,
    pending: HashMap<EnvRef, OperationView>,
    problems: HashMap<EnvRef, ErrorReport>,
    forwards: Vec<ForwardView>,
    files: FileWatch,
    following: Following,
    remote_engines: RemoteEngines,
    inputs: mpsc::Sender<Input>,
    tasks: TaskTracker,
}

impl Fold {
    pub(super) fn new(
        operations: Arc<Operations>,
        inputs: mpsc::Sender<Input>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (room, own) = (operations.clone(), tasks.clone());
        Self {
            files: FileWatch::new(inputs.clone()),
            following: Following::new(room.clone(), inputs.clone(), own.clone(), shutdown),
            remote_engines: RemoteEngines::new(room, inputs.clone(), own),
            operations,
            known: Vec::new(),
            base: View::default(),
            view: View::default(),
            subscribers: Vec::new(),
            pending: HashMap::new(),
            problems: HashMap::new(),
            forwards: Vec::new(),
            inputs,
            tasks,
        }
    }

    /// A new subscriber: the whole view waits in its channel already.
    pub(super) fn subscribe(&mut self) -> mpsc::Receiver<ViewEvent> {
        let patches = whole(&self.view);
        let (channel, receiver) = mpsc::channel(BACKLOG + patches.len());
        let mut subscriber = Subscriber { channel, seq: 0 };
        if patches.iter().all(|patch| subscriber.tell(patch)) {
            self.subscribers.push(subscriber);
        }
        receiver
    }

    fn publish(&mut self, patches: &[ViewPatch]) {
        // One that is gone or too far behind is dropped; its channel ends and it comes again.
        self.subscribers
            .retain_mut(|subscriber| patches.iter().all(|patch| subscriber.tell(patch)));
    }

    /// Tells how the view differs now from what was told last.
    fn settle(&mut self) {
        let view = self.with_overlays(self.base.clone());
        let patches = diff(&self.view, &view);
        self.view = view;
        self.publish(&patches);
    }

    /// Folds a batch of inputs.
    pub(super) async fn take(&mut self, batch: Vec<Input>) {
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
                Input::Everything => everything = true,
                Input::Operation(kind) => outcomes.extend(self.on_operation(kind)),
                Input::Answered(id, answer) => answered |= self.remote_engines.take(id, answer),
            }
        }
        // What an operation did to file and ledger is seen with its end.
        if everything || !outcomes.is_empty() || instances.iter().any(|name| self.knows(name)) {
            self.refresh_all().await;
        } else if answered {
            self.look(false).await;
        } else {
            self.settle();
        }
        let told = outcomes
            .into_iter()
            .map(|outcome| ViewPatch::Finished { outcome });
        self.publish(&told.collect::<Vec<_>>());
    }

    fn knows(&self, name: &InstanceName) -> bool {
        let mut envs = self.view.projects.iter().flat_map(|project| &project.envs);
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

    pub(super) fn forwarded(&mut self, forwards: Vec<ForwardView>) {
        self.forwards = forwards;
        self.settle();
    }

    pub(super) fn dismiss(&mut self, env: &EnvRef) {
        self.problems.remove(env);
        self.settle();
    }

    /// Looks at all projects and engines again.
    pub(super) async fn refresh_all(&mut self) {
        self.look(true).await;
    }

    /// Looks at all projects and the engines of this machine; asks the others again, too, or takes what they
    /// have said.
    async fn look(&mut self, ask: bool) {
        let read_projects = read_projects(&self.directories());
        let beside = self.operations.remote_engines(&read_projects);
        self.following.set(&beside);
        if ask {
            self.remote_engines.ask(&beside);
        }
        let answers = self.remote_engines.answers();
        match self
            .operations
            .overview_with_remotes(read_projects, answers)
            .await
        {
            Ok(view) => {
                let starting = addressless(&view);
                let known = addressless(&self.base);
                self.base = view;
                self.settle();
                for name in starting.iter().filter(|name| !known.contains(name)) {
                    self.await_address(name);
                }
            }
            Err(error) => tracing::warn!(?error, "the overview failed"),
        }
    }

    /// The known projects' directories; watches them for changes, also those whose file is away: an editor may
    /// be about to write it.
    fn directories(&mut self) -> Vec<PathBuf> {
        match self.operations.registry().all() {
            Ok(known) => self.known = known.into_iter().map(|project| project.path).collect(),
            // Those that were known don't vanish from sight because of that.
            Err(error) => tracing::warn!(?error, "the registry can't be read"),
        }
        let mut directories = self.known.clone();
        // The directories of the registry and of sessions have to be there to be watched.
        let home = self.operations.home();
        let own = [home.directory(""), home.directory("run")];
        let own = own.into_iter().flatten();
        self.files
            .set(own.chain(directories.iter().cloned()).collect());
        // Last, so that a file that comes meanwhile is seen now or heard of.
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
        env.forwarded(path, &self.forwards);
        env.operation = self.pending.get(&key).cloned();
        if let Some(problem) = self.problems.get(&key) {
            env.problem = Some(problem.clone());
        }
    }

    /// DHCP gives no event: one exec waits in the guest, and then its instance is looked at again.
    fn await_address(&self, name: &InstanceName) {
        if !self.knows(name) {
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
                // With the watch's end nobody wants to know.
                let _ = inputs.send(Input::Instance(name)).await;
            }
        });
    }
}

/// Running instances that have no address yet.
fn addressless(view: &View) -> Vec<InstanceName> {
    let envs = view.projects.iter().flat_map(|project| &project.envs);
    envs.filter(|env| env.status == EnvStatus::Running && env.address.is_none())
        .map(|env| env.instance.clone())
        .collect()
}
