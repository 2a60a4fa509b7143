//! Watching on Linux. Directories are watched for names only, so that writes to disks cause no events; each log is
//! watched by itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use inotify::{EventMask, EventOwned, Inotify, WatchDescriptor, WatchMask, Watches};

use super::{FileEvent, LOG};
use crate::error::{Error, Result};

/// Created, deleted and renamed entries.
const NAMES: WatchMask = WatchMask::CREATE
    .union(WatchMask::DELETE)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::ONLYDIR);
const BUFFER_BYTES: usize = 8192;

struct Watch {
    home: PathBuf,
    watches: Watches,
    paths: HashMap<WatchDescriptor, PathBuf>,
    /// Cookie and old path of a directory that is being renamed.
    moving: Option<(u32, PathBuf)>,
}

/// Watches a directory and its machines.
pub(crate) fn watch(home: &Path) -> Result<BoxStream<'static, FileEvent>> {
    let failed =
        |error: std::io::Error| Error::io(format!("cannot watch {}", home.display()), error);
    let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; BUFFER_BYTES]));
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
    let valid = events.take_while(|event| std::future::ready(event.is_ok()));
    let changes = valid.flat_map(move |event| {
        let changes = event
            .map(|event| watch.translate(&event))
            .unwrap_or_default();
        futures_util::stream::iter(changes)
    });
    Ok(changes.boxed())
}

impl Watch {
    fn add(&mut self, path: PathBuf, mask: WatchMask) -> std::io::Result<()> {
        let watch = self.watches.add(&path, mask)?;
        self.paths.insert(watch, path);
        Ok(())
    }

    /// Watches a machine's directory and its log; errors of a deleted machine are ignored.
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

    fn translate(&mut self, event: &EventOwned) -> Vec<FileEvent> {
        if event.mask.contains(EventMask::IGNORED) {
            self.paths.remove(&event.wd);
            return Vec::new();
        }
        let Some(directory) = self.paths.get(&event.wd) else {
            return Vec::new();
        };
        let path = event
            .name
            .as_ref()
            .map_or_else(|| directory.clone(), |name| directory.join(name));
        let is_machine = path.parent() == Some(self.home.as_path());
        if is_machine && event.mask.contains(EventMask::MOVED_FROM) {
            self.moving = Some((event.cookie, path.clone()));
            return vec![FileEvent::Path(path)];
        }
        let mut changes = Vec::new();
        if event
            .mask
            .intersects(EventMask::CREATE | EventMask::MOVED_TO)
        {
            if is_machine {
                self.add_machine(&path);
            } else if path.ends_with(LOG) {
                // Content written before the watch is read now.
                let _ = self.add(path.clone(), WatchMask::MODIFY);
            }
        }
        match self.moving.take() {
            Some((cookie, from)) if cookie == event.cookie && is_machine => {
                changes.push(FileEvent::Moved {
                    from,
                    to: path.clone(),
                });
            }
            _ => changes.push(FileEvent::Path(path.clone())),
        }
        if is_machine {
            // The log may have been created before the watch.
            changes.push(FileEvent::Path(path.join(LOG)));
        }
        changes
    }
}
