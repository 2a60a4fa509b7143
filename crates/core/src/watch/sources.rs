//! Where changes come from: the engines' events, and our own bus.

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
    /// An instance changed.
    Instance(InstanceName),
    /// An instance started; its address comes later.
    Started(InstanceName),
    /// A file, or an engine as a whole: everything is looked at again.
    Everything,
    /// One of our own operations.
    Operation(EventKind),
    /// What an engine on another machine has, or why it doesn't say.
    Answered(EngineId, Result<Vec<Instance>, ErrorReport>),
}

/// Engines whose events are followed.
pub(super) struct Following {
    operations: Arc<Operations>,
    inputs: mpsc::Sender<Input>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    followed: HashMap<EngineId, CancellationToken>,
}

impl Following {
    /// Follows those of this engine room.
    pub(super) fn new(
        operations: Arc<Operations>,
        inputs: mpsc::Sender<Input>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let mut following = Self {
            operations,
            inputs,
            tasks,
            shutdown,
            followed: HashMap::new(),
        };
        following.set(&[]);
        following
    }

    /// Follows those of this engine room, and these beside them, and no others.
    pub(super) fn set(&mut self, beside: &[Arc<dyn Backend>]) {
        let own = self.operations.backends().to_vec();
        let wanted: Vec<Arc<dyn Backend>> = own.into_iter().chain(beside.iter().cloned()).collect();
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

/// Starts listening to our own bus.
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
                Err(RecvError::Lagged(_)) => Input::Everything,
                Err(RecvError::Closed) => return,
            };
            if inputs.send(input).await.is_err() {
                return;
            }
        }
    });
}

/// Follows an engine's events, over its restarts. Ends when nobody listens any more.
async fn follow(operations: &Operations, backend: &Arc<dyn Backend>, inputs: &mpsc::Sender<Input>) {
    while follow_once(operations, backend, inputs).await.is_some() {
        backend.returned().await;
    }
}

/// Until the connection is lost; `None` when nobody listens any more.
async fn follow_once(
    operations: &Operations,
    backend: &Arc<dyn Backend>,
    inputs: &mpsc::Sender<Input>,
) -> Option<()> {
    let Ok(mut events) = backend.events().await else {
        return Some(());
    };
    operations.mark_reachable(backend.id());
    // What happened before the stream stood is not in it.
    inputs.send(Input::Everything).await.ok()?;
    while let Some(event) = events.next().await {
        for input in translate(event) {
            inputs.send(input).await.ok()?;
        }
    }
    // Gone: show that at once.
    inputs.send(Input::Everything).await.ok()
}

fn translate(event: BackendEvent) -> Vec<Input> {
    match event {
        BackendEvent::Changed(name) => vec![Input::Instance(name)],
        BackendEvent::Started(name) => vec![Input::Started(name)],
        BackendEvent::Renamed { old, new } => vec![Input::Instance(old), Input::Instance(new)],
    }
}
