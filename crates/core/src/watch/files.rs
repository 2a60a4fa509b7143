//! Files that change: the registry, known projects, and terminal sessions.
//!
//! Files are replaced by rename, so their directories are watched. A directory may go and come back, with another
//! checkout, say: until it does, the nearest one above it that is there is watched for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::sources::Input;
use crate::operations::is_session;
use crate::project::FILE_NAME;

/// Device and number of a directory: another one at the same path is another one.
type Identity = (u64, u64);

/// What is shared with the watcher's thread.
#[derive(Default)]
struct Known {
    /// The directories in which something may happen that is ours.
    wanted: BTreeSet<PathBuf>,
    /// Those that have gone since they were watched: the watch went with them.
    lost: BTreeSet<PathBuf>,
}

/// Tells of changes in the registry and in the files of known projects.
pub(super) struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    known: Arc<Mutex<Known>>,
    watched: BTreeMap<PathBuf, Identity>,
}

impl FileWatch {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        let known = Arc::<Mutex<Known>>::default();
        let shared = known.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let is_ours = event.is_ok_and(|event| {
                let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
                known.take(&event)
            });
            // This thread is the watcher's own: it may wait until there is room. Whoever is gone needs no answer.
            if is_ours {
                let _ = inputs.blocking_send(Input::Everything);
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "changes of files won't be seen");
        }
        Self {
            watcher: watcher.ok(),
            known,
            watched: BTreeMap::new(),
        }
    }

    /// Watches these directories and no others.
    pub(super) fn set(&mut self, directories: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let there = directories.iter().filter_map(|path| nearest(path));
        let there: BTreeMap<PathBuf, Identity> = there.collect();
        let lost = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.wanted = directories;
            std::mem::take(&mut known.lost)
        };
        self.watched.retain(|path, known| {
            let stays = there.get(path) == Some(known) && !lost.contains(path);
            if !stays {
                // It may have been deleted, and with it the watch.
                let _ = watcher.unwatch(path);
            }
            stays
        });
        for (path, identity) in there {
            if self.watched.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(path, identity)),
                // One that has just gone is looked for again with the next change.
                Err(error) => {
                    tracing::warn!(directory = %path.display(), %error, "can't be watched");
                }
            }
        }
    }
}

/// A directory, or where it isn't there the nearest one above that is.
fn nearest(path: &Path) -> Option<(PathBuf, Identity)> {
    path.ancestors().find_map(|path| {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some((path.to_path_buf(), (found.dev(), found.ino())))
    })
}

impl Known {
    /// Whether an event is any of our business. Most of what happens in those directories isn't. Names of files
    /// in the home's `run` tell of terminal sessions.
    fn take(&mut self, event: &Event) -> bool {
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        let is_file = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| {
                name == FILE_NAME || name == "projects.json" || is_session(name)
            })
        };
        // One of the directories itself, or one above, has gone or come.
        let leads_there = |path: &Path| self.wanted.iter().any(|wanted| wanted.starts_with(path));
        let (mut ours, mut moved) = (false, Vec::new());
        for path in &event.paths {
            let leads = leads_there(path);
            ours |= leads || is_file(path);
            moved.extend(leads.then(|| path.clone()));
        }
        // Not by its identity alone: the next directory may get the number of the one that has gone.
        if matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        ) {
            self.lost.extend(moved);
        }
        ours
    }
}
