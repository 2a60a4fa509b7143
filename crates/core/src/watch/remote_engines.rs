//! The last answers of remote engines.
//!
//! Each is queried in a task of its own, so that a slow one does not delay the view.

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
    pending: HashMap<EngineId, Arc<dyn Backend>>,
    /// Pending engines that changed after the query was sent.
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
            pending: HashMap::new(),
            stale: HashSet::new(),
        }
    }

    pub(super) fn answers(&self) -> &RemoteAnswers {
        &self.answers
    }

    /// Queries these engines, and drops the answers of others. Answers arrive as inputs.
    pub(super) fn query(&mut self, backends: &[Arc<dyn Backend>]) {
        let is_wanted = |id: &EngineId| backends.iter().any(|backend| backend.id() == id);
        self.answers.retain(|id, _| is_wanted(id));
        for backend in backends {
            if self.pending.contains_key(backend.id()) {
                self.stale.insert(backend.id().clone());
            } else {
                self.query_one(backend.clone());
            }
        }
    }

    fn query_one(&mut self, backend: Arc<dyn Backend>) {
        self.pending.insert(backend.id().clone(), backend.clone());
        let (operations, inputs) = (self.operations.clone(), self.inputs.clone());
        self.tasks.spawn(async move {
            let answer = tokio::select! {
                answer = operations.list_remote(backend.as_ref()) => answer,
                () = inputs.closed() => return,
            };
            let answered = Input::RemoteInstances(
                backend.id().clone(),
                answer.map_err(|error| error.report()),
            );
            // Fails only once the watch has ended.
            let _ = inputs.send(answered).await;
        });
    }

    /// Stores an answer and repeats a stale query; returns whether the answer is new.
    pub(super) fn accept(
        &mut self,
        id: EngineId,
        answer: Result<Vec<Instance>, ErrorReport>,
    ) -> bool {
        let again = self.pending.remove(&id).filter(|_| self.stale.remove(&id));
        if let Some(backend) = again {
            self.query_one(backend);
        }
        let is_new = self.answers.get(&id) != Some(&answer);
        self.answers.insert(id, answer);
        is_new
    }
}
