//! Where changes come from: the engines' events, and our own bus.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, BackendEvent};
use crate::engine::Engine;
use crate::event::EventKind;
use crate::model::InstanceName;

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
}

/// Starts listening everywhere but to files, which [`FileWatch`](super::files::FileWatch) does.
pub(super) fn start(
    engine: &Arc<Engine>,
    inputs: &mpsc::Sender<Input>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    for backend in engine.backends() {
        let (backend, inputs) = (backend.clone(), inputs.clone());
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = follow(backend, inputs) => {}
            }
        });
    }
    let (mut events, inputs, shutdown) =
        (engine.bus().subscribe(), inputs.clone(), shutdown.clone());
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
async fn follow(backend: Arc<dyn Backend>, inputs: mpsc::Sender<Input>) {
    while follow_once(&backend, &inputs).await.is_some() {
        backend.returned().await;
    }
}

/// Until the connection is lost; `None` when nobody listens any more.
async fn follow_once(backend: &Arc<dyn Backend>, inputs: &mpsc::Sender<Input>) -> Option<()> {
    let Ok(mut events) = backend.events().await else {
        return Some(());
    };
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
