//! One running operation: its lock, its id, and what it tells the bus.

use tokio_util::task::TaskTracker;

use crate::backend::{Backend, Progress, Step};
use crate::error::Result;
use crate::event::EventKind;
use crate::model::{EnvName, InstanceName, OperationId, SnapshotName};
use crate::project::Project;
use crate::view::{EnvRef, Outcome, Verb};

use super::Engine;
use super::journal::{Detail, Journal, Record};
use super::ledger::Keeper;
use super::lock::EnvLock;

/// An operation between its beginning and its end. Holds the env's lock.
pub(super) struct Task {
    pub(super) id: OperationId,
    pub(super) env: EnvRef,
    pub(super) verb: Verb,
    pub(super) snapshot: Option<SnapshotName>,
    /// What it takes back.
    pub(super) undoes: Option<OperationId>,
    pub(super) undoable: bool,
    /// What its journal has to know beyond the env.
    pub(super) detail: Option<Detail>,
    /// Threads that may outlive the wait for them.
    pub(super) threads: TaskTracker,
    _locks: Vec<EnvLock>,
}

impl Task {
    /// The operation, as the undo ledger names it.
    pub(super) fn keeper(&self) -> Keeper<'_> {
        Keeper {
            id: &self.id,
            verb: self.verb,
            env: &self.env,
        }
    }
}

impl Engine {
    /// Begins an operation: mends what killed ones left behind, takes the env's lock and says so.
    pub(super) async fn begin(
        &self,
        project: &Project,
        env: &EnvName,
        verb: Verb,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Task> {
        self.begin_with(project, env, &[], verb, snapshot).await
    }

    /// The same for an operation that concerns other envs of the project, too. Their locks are taken in
    /// the order of their names, so that no two operations wait for each other.
    pub(super) async fn begin_with(
        &self,
        project: &Project,
        env: &EnvName,
        others: &[&EnvName],
        verb: Verb,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Task> {
        self.recover().await?;
        let names = others.iter().copied().chain([env]);
        let mut instances = names
            .map(|name| project.instance(name))
            .collect::<Result<Vec<InstanceName>>>()?;
        instances.sort();
        instances.dedup();
        let (id, env) = (OperationId::random(), project.env_ref(env));
        let mut locks = Vec::new();
        for instance in &instances {
            let waiting = |text| self.bus.publish(EventKind::Notice(text));
            locks.push(EnvLock::take(&self.home, instance, verb, waiting).await?);
        }
        for instance in &instances {
            // Another process may have been killed while we waited, or one could not be mended before.
            self.recover_own(instance).await?;
        }
        self.bus.publish(EventKind::Started {
            id: id.clone(),
            env: env.clone(),
            verb,
            snapshot: snapshot.cloned(),
            at: self.clock.now(),
        });
        Ok(Task {
            id,
            env,
            verb,
            snapshot: snapshot.cloned(),
            undoes: None,
            undoable: false,
            detail: None,
            threads: TaskTracker::new(),
            _locks: locks,
        })
    }

    /// Says where an operation is.
    pub(super) fn step(&self, task: &Task, text: &str) {
        self.bus.publish(EventKind::Progress {
            id: task.id.clone(),
            env: task.env.clone(),
            step: Step {
                text: text.to_owned(),
                percent: None,
                bytes: None,
            },
        });
    }

    /// Hands the steps of a backend on to the bus.
    pub(super) fn progress(&self, task: &Task) -> Progress {
        let (bus, id, env) = (self.bus.clone(), task.id.clone(), task.env.clone());
        Progress::new(move |step| {
            bus.publish(EventKind::Progress {
                id: id.clone(),
                env: env.clone(),
                step,
            });
        })
    }

    /// Ends an operation: says how, and gives the lock back.
    pub(super) fn end<T>(&self, task: Task, result: Result<T>) -> Result<T> {
        self.bus.publish(EventKind::Finished(Outcome {
            id: task.id.clone(),
            env: task.env.clone(),
            verb: task.verb,
            snapshot: task.snapshot.clone(),
            error: result.as_ref().err().map(crate::Error::report),
            undoable: task.undoable && result.is_ok(),
        }));
        result
    }

    /// Writes the journal of an operation.
    pub(super) fn journal(
        &self,
        task: &Task,
        backend: &dyn Backend,
        instance: &InstanceName,
        was_running: bool,
    ) -> Result<Journal> {
        Journal::begin(
            &self.home,
            Record {
                version: Record::version(),
                id: task.id.clone(),
                verb: task.verb,
                env: task.env.clone(),
                engine: backend.id().clone(),
                instance: instance.clone(),
                was_running,
                snapshot: task.snapshot.clone(),
                undoes: task.undoes.clone(),
                detail: task.detail.clone(),
                started_at: self.clock.now(),
            },
        )
    }
}
