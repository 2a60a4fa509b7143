//! Deleting a whole project: its envs, one after the other, and its file.
//!
//! Each removal is a saga of its own. One deletion that is killed leaves a project with fewer envs, all of
//! them whole, and `undo` brings the removed ones back. The ledger of deleted projects joins them, so that
//! one `undo` brings all of it back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Operations;
use super::remove::Removed;
use super::undo_ledger::UNDO_RETENTION;
use crate::error::{Error, ErrorKind, Result};
use crate::home::{read_all, write_json};
use crate::model::{EnvName, OperationId};
use crate::project::{KeptFile, Project, restore_file};

const VERSION: u32 = 1;

/// A project that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedProject {
    /// The envs that were removed.
    pub removed: Vec<EnvName>,
    /// Envs whose instances another directory made, and which are still there.
    pub left: Vec<EnvName>,
    /// `undo` brings all of it back.
    pub undoable: bool,
}

/// One line of the ledger of deleted projects, `undo/projects/<id>.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    version: u32,
    id: OperationId,
    path: PathBuf,
    file: KeptFile,
    /// The removals that belong to it, in their order.
    removals: Vec<OperationId>,
    at: Timestamp,
    expires_at: Timestamp,
}

impl Operations {
    /// Removes all envs of a project from the engine, and then its file. What another directory that is
    /// still there has made is left alone.
    ///
    /// # Errors
    /// Those of removing an env; what was removed until then can be undone.
    pub async fn delete_project(&self, mut project: Project) -> Result<DeletedProject> {
        let failed = |error: Error| error.context("the project is not deleted");
        let before = project.keep_file().map_err(failed)?;
        let (mut removed, mut left, mut removals) = (Vec::new(), Vec::new(), Vec::new());
        let mut undoable = true;
        for env in project.file().env_names() {
            match self.remove_env(&mut project, &env).await {
                Ok(Removed::Undoable(id)) => removals.push(id),
                Ok(Removed::Deleted) => undoable = false,
                Ok(Removed::EntryOnly) => {}
                Err(error) if error.kind() == ErrorKind::NotOurs => {
                    left.push(env);
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            removed.push(env);
        }
        let at = self.clock.now();
        let entry = Entry {
            version: VERSION,
            id: OperationId::random(),
            path: project.directory().to_path_buf(),
            file: before,
            removals,
            at,
            expires_at: at + UNDO_RETENTION,
        };
        // Before the file goes: what the ledger knows can come back.
        write_json(&self.deletion_path(&entry.id)?, &entry)?;
        let now = project
            .keep_file()
            .and_then(|now| project.delete_file(&now));
        if let Err(error) = now {
            self.forget_deletion(&entry.id)?;
            return Err(failed(error));
        }
        Ok(DeletedProject {
            removed,
            left,
            undoable,
        })
    }

    /// Brings a deleted project back, with its envs; `None` where none was deleted in this directory
    /// within the last three days.
    ///
    /// # Errors
    /// `AlreadyExists` where the directory has another project now; those of bringing an env back. What
    /// is back then stays, and the rest can be tried again.
    pub async fn undo_deletion(self: &Arc<Self>, directory: &Path) -> Result<Option<Project>> {
        self.recover().await?;
        let Some(entry) = self.newest_deletion(directory)? else {
            return Ok(None);
        };
        let failed = |error: Error| error.context("cannot bring the project back");
        let mut project = match has_file(&entry) {
            true => Project::open(&entry.path),
            false => restore_file(&entry.path, &entry.file),
        }
        .map_err(failed)?;
        self.registry().add(project.directory())?;
        // Its own remote, if it names one.
        let room = self.of(&project)?;
        for id in entry.removals.iter().rev() {
            // One that isn't known any more was brought back, or is gone for good.
            if let Some(removal) = self.ledger_entry(id)? {
                room.undo_entry(&mut project, &removal).await?;
            }
        }
        self.forget_deletion(&entry.id)?;
        Ok(Some(project))
    }

    /// Whether the project of a directory was deleted and is back only in part: its file, and not all of
    /// its envs.
    ///
    /// # Errors
    /// `Io` where our own state can't be read.
    pub fn is_back_in_part(&self, directory: &Path) -> Result<bool> {
        let newest = self.newest_deletion(directory)?;
        Ok(newest.is_some_and(|entry| has_file(&entry)))
    }

    fn newest_deletion(&self, directory: &Path) -> Result<Option<Entry>> {
        let now = self.clock.now();
        let entries = self.deletions()?.into_iter();
        let ours = entries.filter(|entry| entry.path == directory && entry.expires_at > now);
        Ok(ours.max_by_key(|entry| entry.at))
    }

    fn deletions(&self) -> Result<Vec<Entry>> {
        let folder = self.home.directory("undo/projects")?;
        read_all(&folder, VERSION)
    }

    /// Strikes out the deletions that can no longer be taken back, or all of them.
    pub(super) fn forget_deletions(&self, all: bool) -> Result<()> {
        let now = self.clock.now();
        for entry in self.deletions()? {
            if all || entry.expires_at <= now {
                self.forget_deletion(&entry.id)?;
            }
        }
        Ok(())
    }

    fn deletion_path(&self, id: &OperationId) -> Result<PathBuf> {
        let folder = self.home.directory("undo/projects")?;
        Ok(folder.join(format!("{id}.json")))
    }

    fn forget_deletion(&self, id: &OperationId) -> Result<()> {
        let path = self.deletion_path(id)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(
                format!("cannot delete {}", path.display()),
                error,
            )),
            _ => Ok(()),
        }
    }
}

/// Whether the file of a deleted project is there as it was.
fn has_file(entry: &Entry) -> bool {
    let now = Project::open(&entry.path).and_then(|project| project.keep_file());
    now.is_ok_and(|now| now.text == entry.file.text)
}
