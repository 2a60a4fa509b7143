//! A running operation: its locks, its id and its events.

use tokio_util::task::TaskTracker;

use crate::backend::{Backend, Progress, Step};
use crate::error::Result;
use crate::event::EventKind;
use crate::model::{EnvName, InstanceName, OperationId, SnapshotName};
use crate::project::Project;
use crate::view::{EnvRef, OperationKind, Outcome};

use super::Operations;
use super::journal::{self, Detail, Journal, OperationRecord};
use super::lock::EnvLock;
use super::undo_ledger::OperationRef;

/// A running operation. Holds the locks of its envs.
pub(super) struct Operation {
    pub(super) id: OperationId,
    pub(super) env: EnvRef,
    pub(super) kind: OperationKind,
    pub(super) snapshot: Option<SnapshotName>,
    pub(super) undoes: Option<OperationId>,
    pub(super) undoable: bool,
    pub(super) detail: Option<Detail>,
    /// Threads that outlive a cancelled operation.
    pub(super) threads: TaskTracker,
    _locks: Vec<EnvLock>,
}

impl Operation {
    /// The operation, as identified in the undo ledger.
    pub(super) fn operation_ref(&self) -> OperationRef<'_> {
        OperationRef {
            id: &self.id,
            kind: self.kind,
            env: &self.env,
        }
    }
}

impl Operations {
    /// Begins an operation: recovers interrupted ones, locks the env and publishes the start.
    pub(super) async fn begin(
        &self,
        project: &Project,
        env: &EnvName,
        kind: OperationKind,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Operation> {
        self.begin_with(project, env, &[], kind, snapshot).await
    }

    /// Like [`Self::begin`], and locks other envs of the project too. Locks are acquired in the order of
    /// instance names, which excludes deadlocks.
    pub(super) async fn begin_with(
        &self,
        project: &Project,
        env: &EnvName,
        others: &[&EnvName],
        kind: OperationKind,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Operation> {
        self.home.make_room();
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
            locks.push(EnvLock::acquire(&self.home, instance, kind, waiting).await?);
        }
        for instance in &instances {
            // The previous owner of the lock may have been killed.
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

    /// Publishes a step.
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

    /// Publishes the steps that a backend reports.
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

    /// Ends an operation: publishes its outcome and releases its locks.
    pub(super) fn end<T>(&self, operation: Operation, result: Result<T>) -> Result<T> {
        self.bus.publish(EventKind::Finished(Outcome {
            id: operation.id.clone(),
            env: operation.env.clone(),
            kind: operation.kind,
            snapshot: operation.snapshot.clone(),
            error: result.as_ref().err().map(crate::Error::report),
            undoable: operation.undoable && result.is_ok(),
            summary: operation
                .kind
                .summary(&operation.env.env, operation.snapshot.as_ref()),
        }));
        result
    }

    /// Begins the journal of an operation.
    pub(super) fn journal(
        &self,
        operation: &Operation,
        backend: &dyn Backend,
        instance: &InstanceName,
        was_running: bool,
    ) -> Result<Journal> {
        let record = self.record(operation, backend, instance, was_running);
        Journal::begin(&self.home, record)
    }

    /// The record of an operation's journal.
    pub(super) fn record(
        &self,
        operation: &Operation,
        backend: &dyn Backend,
        instance: &InstanceName,
        was_running: bool,
    ) -> OperationRecord {
        OperationRecord {
            version: journal::VERSION,
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
            boot: None,
        }
    }
}
