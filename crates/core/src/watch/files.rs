//! Watching files: the registry, project files and terminal sessions.
//!
//! Files are replaced by rename, so their directories are watched. While a directory is missing, its
//! nearest existing ancestor is watched instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::sources::Input;
use crate::operations::is_session_file;
use crate::project::FILE_NAME;

/// Device and inode number, which identify a directory.
type Identity = (u64, u64);

#[derive(Default)]
struct WatchedPaths {
    wanted: BTreeSet<PathBuf>,
    /// Directories that were removed, and their watches with them.
    lost: BTreeSet<PathBuf>,
}

/// Sends a refresh when a watched file changes.
pub(super) struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    known: Arc<Mutex<WatchedPaths>>,
    watched: BTreeMap<PathBuf, Identity>,
}

impl FileWatch {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        let known = Arc::<Mutex<WatchedPaths>>::default();
        let shared = known.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let is_relevant = event.is_ok_and(|event| {
                let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
                known.is_relevant(&event)
            });
            // The watcher's own thread may block. Fails only once the watch has ended.
            if is_relevant {
                let _ = inputs.blocking_send(Input::Refresh);
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch files");
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
        let existing = directories.iter().filter_map(|path| nearest_existing(path));
        let existing: BTreeMap<PathBuf, Identity> = existing.collect();
        let lost = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.wanted = directories;
            std::mem::take(&mut known.lost)
        };
        self.watched.retain(|path, known| {
            let stays = existing.get(path) == Some(known) && !lost.contains(path);
            if !stays {
                // Fails if the directory was deleted.
                let _ = watcher.unwatch(path);
            }
            stays
        });
        for (path, identity) in existing {
            if self.watched.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(path, identity)),
                // Retried with the next change.
                Err(error) => {
                    tracing::warn!(directory = %path.display(), %error, "cannot watch a directory");
                }
            }
        }
    }
}

/// A directory, or its nearest existing ancestor.
fn nearest_existing(path: &Path) -> Option<(PathBuf, Identity)> {
    path.ancestors().find_map(|path| {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some((path.to_path_buf(), (found.dev(), found.ino())))
    })
}

impl WatchedPaths {
    /// Whether an event concerns a watched file or directory. Records lost watches.
    fn is_relevant(&mut self, event: &Event) -> bool {
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        let is_file = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| {
                [FILE_NAME, "projects.json", "trust.json"].contains(&name) || is_session_file(name)
            })
        };
        let is_directory = |path: &Path| self.wanted.iter().any(|wanted| wanted.starts_with(path));
        let (mut relevant, mut moved) = (false, Vec::new());
        for path in &event.paths {
            let is_directory = is_directory(path);
            relevant |= is_directory || is_file(path);
            moved.extend(is_directory.then(|| path.clone()));
        }
        // The identity is not enough: a new directory may reuse the inode number.
        if matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        ) {
            self.lost.extend(moved);
        }
        relevant
    }
}
