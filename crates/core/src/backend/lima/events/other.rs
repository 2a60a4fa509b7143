//! Watching on other systems (FSEvents on macOS, which rarely reports writes to disks).

use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use notify::{Event, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::FileEvent;
use crate::error::{Error, ErrorKind, Result};

/// Watches a directory.
pub(crate) fn watch(home: &Path) -> Result<BoxStream<'static, FileEvent>> {
    let failed = |error: notify::Error| {
        let message = format!("cannot watch {}", home.display());
        Error::new(ErrorKind::Io, message).caused_by(error)
    };
    // FSEvents reports canonical paths.
    let real = home.canonicalize().unwrap_or_else(|_| home.to_path_buf());
    let (sender, changes) = mpsc::unbounded_channel();
    let (from, to) = (real.clone(), home.to_path_buf());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        for path in event.map(|event| event.paths).unwrap_or_default() {
            let path = match path.strip_prefix(&from) {
                Ok(rest) => to.join(rest),
                Err(_) => path,
            };
            // The receiver may be gone.
            let _ = sender.send(FileEvent::Path(path));
        }
    })
    .map_err(failed)?;
    watcher
        .watch(&real, RecursiveMode::Recursive)
        .map_err(failed)?;
    let stream = futures_util::stream::unfold((changes, watcher), |(mut changes, watcher)| async {
        changes.recv().await.map(|path| (path, (changes, watcher)))
    });
    Ok(stream.boxed())
}
