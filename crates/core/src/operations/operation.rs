//! One running operation: its lock, its id, and what it tells the bus.

use tokio_util::task::TaskTracker;

use crate::backend::{Backend, Progress, Step};
use crate::error::Result;
use crate::event::EventKind;
use crate::model::{EnvName, InstanceName, OperationId, SnapshotName};
use crate::project::Project;
use crate::view::{EnvRef, OperationKind, Outcome};

use super::Operations;
use super::journal::{Detail, Journal, OperationRecord};
use super::lock::EnvLock;
use super::undo_ledger::OperationRef;

/// An operation between its beginning and its end. Holds the env's lock.
pub(super) struct Operation {
    pub(super) id: OperationId,
    pub(super) env: EnvRef,
    pub(super) kind: OperationKind,
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

impl Operation {
    /// The operation, as the undo ledger names it.
    pub(super) fn operation_ref(&self) -> OperationRef<'_> {
        OperationRef {
            id: &self.id,
            kind: self.kind,
            env: &self.env,
        }
    }
}

impl Operations {
    /// Begins an operation: mends what killed ones left behind, takes the env's lock and says so.
    pub(super) async fn begin(
        &self,
        project: &Project,
        env: &EnvName,
        kind: OperationKind,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Operation> {
        self.begin_with(project, env, &[], kind, snapshot).await
    }

    /// The same for an operation that concerns other envs of the project, too. Their locks are taken in
    /// the order of their names, so that no two operations wait for each other.
    pub(super) async fn begin_with(
        &self,
        project: &Project,
        env: &EnvName,
        others: &[&EnvName],
        kind: OperationKind,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Operation> {
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
            locks.push(EnvLock::take(&self.home, instance, kind, waiting).await?);
        }
        for instance in &instances {
            // Another process may have been killed while we waited, or one could not be recovered before.
            self.recover_own(instance).await?;
        }
        self.bus.publish(EventKind::Started {
            id: id.clone(),
            env: env.clone(),
            kind,
            snapshot: snapshot.cloned(),
            at: self.clock.now(),
        });
        Ok(Operation {
            id,
            env,
            kind,
            snapshot: snapshot.cloned(),
            undoes: None,
            undoable: false,
            detail: None,
            threads: TaskTracker::new(),
            _locks: locks,
        })
    }

    /// Says where an operation is.
    pub(super) fn step(&self, operation: &Operation, text: &str) {
        self.bus.publish(EventKind::Progress {
            id: operation.id.clone(),
            env: operation.env.clone(),
            step: Step {
                text: text.to_owned(),
                percent: None,
                bytes: None,
            },
        });
    }

    /// Hands the steps of a backend on to the bus.
    pub(super) fn progress(&self, operation: &Operation) -> Progress {
        let (bus, id, env) = (
            self.bus.clone(),
            operation.id.clone(),
            operation.env.clone(),
        );
        Progress::new(move |step| {
            bus.publish(EventKind::Progress {
                id: id.clone(),
                env: env.clone(),
                step,
            });
        })
    }

    /// Ends an operation: says how, and gives the lock back.
    pub(super) fn end<T>(&self, operation: Operation, result: Result<T>) -> Result<T> {
        self.bus.publish(EventKind::Finished(Outcome {
            id: operation.id.clone(),
            env: operation.env.clone(),
            kind: operation.kind,
            snapshot: operation.snapshot.clone(),
            error: result.as_ref().err().map(crate::Error::report),
            undoable: operation.undoable && result.is_ok(),
        }));
        result
    }

    /// Writes the journal of an operation.
    pub(super) fn journal(
        &self,
        operation: &Operation,
        backend: &dyn Backend,
        instance: &InstanceName,
        was_running: bool,
    ) -> Result<Journal> {
        Journal::begin(
            &self.home,
            OperationRecord {
                version: OperationRecord::version(),
                id: operation.id.clone(),
                kind: operation.kind,
                env: operation.env.clone(),
                engine: backend.id().clone(),
                instance: instance.clone(),
                was_running,
                snapshot: operation.snapshot.clone(),
                undoes: operation.undoes.clone(),
                detail: operation.detail.clone(),
                started_at: self.clock.now(),
            },
        )
    }
}
