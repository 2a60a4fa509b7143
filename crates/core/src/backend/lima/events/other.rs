//! Watching on other systems, by what they have for it (FSEvents on macOS), which tells of a disk's writes
//! only now and then.

use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use notify::{Event, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Touched;
use crate::error::{Error, ErrorKind, Result};

/// Everything that is touched below a directory.
pub(crate) fn watch(home: &Path) -> Result<BoxStream<'static, Touched>> {
    let failed = |error: notify::Error| {
        let message = format!("cannot watch {}", home.display());
        Error::new(ErrorKind::Io, message).caused_by(error)
    };
    // FSEvents tells real paths.
    let real = home.canonicalize().unwrap_or_else(|_| home.to_path_buf());
    let (told, touched) = mpsc::unbounded_channel();
    let (from, to) = (real.clone(), home.to_path_buf());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        for path in event.map(|event| event.paths).unwrap_or_default() {
            let path = match path.strip_prefix(&from) {
                Ok(rest) => to.join(rest),
                Err(_) => path,
            };
            // Nobody may listen any more.
            let _ = told.send(Touched::Path(path));
        }
    })
    .map_err(failed)?;
    watcher
        .watch(&real, RecursiveMode::Recursive)
        .map_err(failed)?;
    let stream = futures_util::stream::unfold((touched, watcher), |(mut touched, watcher)| async {
        touched.recv().await.map(|path| (path, (touched, watcher)))
    });
    Ok(stream.boxed())
}
