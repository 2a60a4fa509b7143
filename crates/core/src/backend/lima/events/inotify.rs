//! Watching on Linux. Directories are watched for names only: what is written to a disk in them is nobody's
//! concern. A log is watched by itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use inotify::{EventMask, EventOwned, Inotify, WatchDescriptor, WatchMask, Watches};

use super::{LOG, Touched};
use crate::error::{Error, Result};

/// Names that come, go and change in a directory.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::ONLYDIR);
/// Bytes of events that are read at once.
const BUFFER: usize = 8192;

struct Watch {
    home: PathBuf,
    watches: Watches,
    /// What each of them is on.
    paths: HashMap<WatchDescriptor, PathBuf>,
    /// Where a directory was that is on its way to another name.
    moving: Option<(u32, PathBuf)>,
}

/// Everything that is touched below a directory and its machines.
pub(crate) fn watch(home: &Path) -> Result<BoxStream<'static, Touched>> {
    let failed =
        |error: std::io::Error| Error::io(format!("cannot watch {}", home.display()), error);
    let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; BUFFER]));
    let events = events.map_err(failed)?;
    let mut watch = Watch {
        home: home.to_path_buf(),
        watches: events.watches(),
        paths: HashMap::new(),
        moving: None,
    };
    watch.add(home.to_path_buf(), NAMES).map_err(failed)?;
    for entry in std::fs::read_dir(home).map_err(failed)?.flatten() {
        watch.add_machine(&entry.path());
    }
    let whole = events.take_while(|event| std::future::ready(event.is_ok()));
    let touched = whole.flat_map(move |event| {
        let touched = event.map(|event| watch.take(&event)).unwrap_or_default();
        futures_util::stream::iter(touched)
    });
    Ok(touched.boxed())
}

impl Watch {
    fn add(&mut self, path: PathBuf, mask: WatchMask) -> std::io::Result<()> {
        let watch = self.watches.add(&path, mask)?;
        self.paths.insert(watch, path);
        Ok(())
    }

    /// Watches a machine's directory and its log. One that goes meanwhile needs no watch.
    fn add_machine(&mut self, path: &Path) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(".");
        if name.starts_with(['.', '_']) {
            return;
        }
        let _ = self.add(path.to_path_buf(), NAMES);
        let _ = self.add(path.join(LOG), WatchMask::MODIFY);
    }

    fn take(&mut self, event: &EventOwned) -> Vec<Touched> {
        if event.mask.contains(EventMask::IGNORED) {
            self.paths.remove(&event.wd);
            return Vec::new();
        }
        let Some(place) = self.paths.get(&event.wd) else {
            return Vec::new();
        };
        let path = event
            .name
            .as_ref()
            .map_or_else(|| place.clone(), |name| place.join(name));
        let is_machine = path.parent() == Some(self.home.as_path());
        if is_machine && event.mask.contains(EventMask::MOVED_FROM) {
            self.moving = Some((event.cookie, path.clone()));
            return vec![Touched::Path(path)];
        }
        let mut touched = Vec::new();
        if event
            .mask
            .intersects(EventMask::CREATE | EventMask::MOVED_TO)
        {
            if is_machine {
                self.add_machine(&path);
            } else if path.ends_with(LOG) {
                // It is watched by itself; what was written before that is read now.
                let _ = self.add(path.clone(), WatchMask::MODIFY);
            }
        }
        match self.moving.take() {
            Some((cookie, from)) if cookie == event.cookie && is_machine => {
                touched.push(Touched::Moved {
                    from,
                    to: path.clone(),
                });
            }
            _ => touched.push(Touched::Path(path.clone())),
        }
        if is_machine {
            // It may have got its log before it was watched.
            touched.push(Touched::Path(path.join(LOG)));
        }
        touched
    }
}
