//! Where changes come from: the engines' events, our own bus, and files.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use notify::{Event, EventKind as FileEvent, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, BackendEvent};
use crate::engine::{Engine, is_session};
use crate::event::EventKind;
use crate::model::InstanceName;
use crate::project::FILE_NAME;

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

/// Starts listening everywhere but to files, which [`FileWatch`] does.
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

/// Tells of changes in the registry and in the files of known projects.
pub(super) struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    watched: Vec<std::path::PathBuf>,
}

impl FileWatch {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event)) {
                // A full queue means that everything will be looked at anyway.
                let _ = inputs.try_send(Input::Everything);
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "changes of files won't be seen");
        }
        Self {
            watcher: watcher.ok(),
            watched: Vec::new(),
        }
    }

    /// Watches these directories and no others.
    pub(super) fn set(&mut self, directories: Vec<std::path::PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self
            .watched
            .iter()
            .filter(|known| !directories.contains(known))
        {
            // It may have been deleted, and with it the watch.
            let _ = watcher.unwatch(gone);
        }
        for new in directories.iter().filter(|new| !self.watched.contains(new)) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(directory = %new.display(), %error, "can't be watched");
            }
        }
        self.watched = directories;
    }
}

/// Names of files in the home's `run` tell of terminal sessions. Other files are replaced by rename, so their directories are watched, and most of what happens in
/// those isn't ours.
fn concerns(event: &Event) -> bool {
    let ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name == FILE_NAME || name == "projects.json" || is_session(name))
    };
    !matches!(event.kind, FileEvent::Access(_)) && event.paths.iter().any(|path| ours(path))
}
