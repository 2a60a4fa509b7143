//! The sources of changes: the engines' events and the bus.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, BackendEvent, Instance};
use crate::error::ErrorReport;
use crate::event::EventKind;
use crate::model::{EngineId, InstanceName};
use crate::operations::Operations;

/// Something that may change the view.
#[derive(Debug)]
pub(super) enum Input {
    Instance(InstanceName),
    /// An instance without an address yet.
    Started(InstanceName),
    /// A change that needs a full refresh.
    Refresh,
    Operation(EventKind),
    /// The answer of a remote engine.
    RemoteInstances(EngineId, Result<Vec<Instance>, ErrorReport>),
}

/// Subscriptions to the events of engines.
pub(super) struct EngineSubscriptions {
    operations: Arc<Operations>,
    inputs: mpsc::Sender<Input>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    followed: HashMap<EngineId, CancellationToken>,
}

impl EngineSubscriptions {
    /// Subscribes to the default engines.
    pub(super) fn new(
        operations: Arc<Operations>,
        inputs: mpsc::Sender<Input>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let mut subscriptions = Self {
            operations,
            inputs,
            tasks,
            shutdown,
            followed: HashMap::new(),
        };
        subscriptions.set(&[]);
        subscriptions
    }

    /// Subscribes to the default engines and these, and ends other subscriptions.
    pub(super) fn set(&mut self, remotes: &[Arc<dyn Backend>]) {
        let backends = self.operations.backends().iter();
        let wanted: Vec<Arc<dyn Backend>> = backends.chain(remotes).cloned().collect();
        self.followed.retain(|id, end| {
            let stays = wanted.iter().any(|backend| backend.id() == id);
            if !stays {
                end.cancel();
            }
            stays
        });
        for backend in wanted {
            if self.followed.contains_key(backend.id()) {
                continue;
            }
            let end = self.shutdown.child_token();
            self.followed.insert(backend.id().clone(), end.clone());
            let (operations, inputs) = (self.operations.clone(), self.inputs.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = follow(&operations, &backend, &inputs) => {}
                }
            });
        }
    }
}

/// Subscribes to the bus.
pub(super) fn start(
    operations: &Arc<Operations>,
    inputs: &mpsc::Sender<Input>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let (mut events, inputs, shutdown) = (
        operations.bus().subscribe(),
        inputs.clone(),
        shutdown.clone(),
    );
    tasks.spawn(async move {
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.recv() => event,
            };
            let input = match event {
                Ok(event) => Input::Operation(event.kind),
                Err(RecvError::Lagged(_)) => Input::Refresh,
                Err(RecvError::Closed) => return,
            };
            if inputs.send(input).await.is_err() {
                return;
            }
        }
    });
}

/// Forwards an engine's events, across its restarts, until the watch ends.
async fn follow(operations: &Operations, backend: &Arc<dyn Backend>, inputs: &mpsc::Sender<Input>) {
    while follow_once(operations, backend, inputs).await.is_some() {
        backend.returned().await;
    }
}

/// Forwards events until the connection is lost; `None` once the watch has ended.
async fn follow_once(
    operations: &Operations,
    backend: &Arc<dyn Backend>,
    inputs: &mpsc::Sender<Input>,
) -> Option<()> {
    let Ok(mut events) = backend.events().await else {
        return Some(());
    };
    operations.mark_reachable(backend.id());
    // Earlier changes are not in the stream.
    inputs.send(Input::Refresh).await.ok()?;
    while let Some(event) = events.next().await {
        for input in translate(event) {
            inputs.send(input).await.ok()?;
        }
    }
    // Shows the lost connection at once.
    inputs.send(Input::Refresh).await.ok()
}

fn translate(event: BackendEvent) -> Vec<Input> {
    match event {
        BackendEvent::Changed(name) => vec![Input::Instance(name)],
        BackendEvent::Started(name) => vec![Input::Started(name)],
        BackendEvent::Renamed { old, new } => vec![Input::Instance(old), Input::Instance(new)],
    }
}
