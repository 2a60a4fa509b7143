//! What engines on other machines have, as they have answered last.
//!
//! They are asked beside everything else: one that is slow, or off, holds nothing up that is here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::sources::Input;
use crate::backend::{Backend, Instance};
use crate::error::ErrorReport;
use crate::model::EngineId;
use crate::operations::{Operations, RemoteAnswers};

pub(super) struct RemoteEngines {
    operations: Arc<Operations>,
    inputs: mpsc::Sender<Input>,
    tasks: TaskTracker,
    answers: RemoteAnswers,
    /// Those that are being asked.
    asked: HashMap<EngineId, Arc<dyn Backend>>,
    /// Those of them whose answer may be stale when it comes.
    stale: HashSet<EngineId>,
}

impl RemoteEngines {
    pub(super) fn new(
        operations: Arc<Operations>,
        inputs: mpsc::Sender<Input>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            operations,
            inputs,
            tasks,
            answers: RemoteAnswers::new(),
            asked: HashMap::new(),
            stale: HashSet::new(),
        }
    }

    pub(super) fn answers(&self) -> &RemoteAnswers {
        &self.answers
    }

    /// Asks these, and forgets what others have said. RemoteAnswers come as inputs.
    pub(super) fn ask(&mut self, backends: &[Arc<dyn Backend>]) {
        let is_wanted = |id: &EngineId| backends.iter().any(|backend| backend.id() == id);
        self.answers.retain(|id, _| is_wanted(id));
        for backend in backends {
            match self.asked.contains_key(backend.id()) {
                true => drop(self.stale.insert(backend.id().clone())),
                false => self.ask_one(backend.clone()),
            }
        }
    }

    fn ask_one(&mut self, backend: Arc<dyn Backend>) {
        self.asked.insert(backend.id().clone(), backend.clone());
        let (operations, inputs) = (self.operations.clone(), self.inputs.clone());
        self.tasks.spawn(async move {
            let answer = tokio::select! {
                answer = operations.list_remote(backend.as_ref()) => answer,
                () = inputs.closed() => return,
            };
            let answered =
                Input::Answered(backend.id().clone(), answer.map_err(|error| error.report()));
            // With the watch's end nobody wants to know.
            let _ = inputs.send(answered).await;
        });
    }

    /// Takes an answer; whether it says anything new. Where something has changed since it was asked for,
    /// it is asked for again.
    pub(super) fn take(
        &mut self,
        id: EngineId,
        answer: Result<Vec<Instance>, ErrorReport>,
    ) -> bool {
        let again = self.asked.remove(&id).filter(|_| self.stale.remove(&id));
        if let Some(backend) = again {
            self.ask_one(backend);
        }
        let is_new = self.answers.get(&id) != Some(&answer);
        self.answers.insert(id, answer);
        is_new
    }
}
