//! Deleting a project: each of its envs, then its file.
//!
//! Each removal is an operation of its own. An interrupted deletion leaves a project with fewer envs, which
//! `undo` restores one by one. The ledger of deleted projects groups the removals, so that one `undo`
//! restores the project.

use std::path::Path;
use std::sync::Arc;

use super::Operations;
use super::deletion_ledger::{DeletedProjectEntry, VERSION};
use super::remove::Removed;
use super::undo_ledger::UNDO_RETENTION;
use crate::error::{Error, ErrorKind, Result};
use crate::home::write_json;
use crate::model::{EnvName, OperationId};
use crate::project::{Project, restore_file};

/// A deleted project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedProject {
    pub removed: Vec<EnvName>,
    /// Envs of another checkout, which remain.
    pub left: Vec<EnvName>,
    pub undoable: bool,
}

impl Operations {
    /// Removes all envs of a project, then its file. Instances of other checkouts remain.
    ///
    /// # Errors
    /// Those of removing an env; earlier removals can be undone.
    pub async fn delete_project(&self, mut project: Project) -> Result<DeletedProject> {
        let failed = |error: Error| error.context("cannot delete the project");
        let before = project.back_up_file().map_err(failed)?;
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
        let entry = DeletedProjectEntry {
            version: VERSION,
            id: OperationId::random(),
            path: project.directory().to_path_buf(),
            file: before,
            removals,
            at,
            expires_at: at + UNDO_RETENTION,
        };
        // Before the file is deleted, so that the deletion can be undone.
        write_json(&self.deletion_path(&entry.id)?, &entry)?;
        let deleted = project
            .back_up_file()
            .and_then(|current| project.delete_file(&current));
        if let Err(error) = deleted {
            self.remove_deletion(&entry.id)?;
            return Err(failed(error));
        }
        Ok(DeletedProject {
            removed,
            left,
            undoable,
        })
    }

    /// Restores the project that was deleted in a directory, with its envs; `None` without an entry.
    ///
    /// # Errors
    /// `AlreadyExists` for a new project in the directory; those of undoing a removal. Can be repeated.
    pub async fn undo_deletion(self: &Arc<Self>, directory: &Path) -> Result<Option<Project>> {
        self.recover().await?;
        let Some(entry) = self.newest_deletion(directory)? else {
            return Ok(None);
        };
        let failed = |error: Error| error.context("cannot restore the project");
        let mut project = if has_file(&entry) {
            Project::open(&entry.path)
        } else {
            restore_file(&entry.path, &entry.file)
        }
        .map_err(failed)?;
        self.registry().add(project.directory())?;
        let operations = self.for_project(&project)?;
        for id in entry.removals.iter().rev() {
            if let Some(removal) = self.ledger_entry(id)? {
                operations.undo_entry(&mut project, &removal).await?;
            }
        }
        self.remove_deletion(&entry.id)?;
        Ok(Some(project))
    }

    /// Whether the undo of a deletion was interrupted: the file is restored, but not all envs.
    ///
    /// # Errors
    /// `Io` if the ledger cannot be read.
    pub fn is_partially_restored(&self, directory: &Path) -> Result<bool> {
        let newest = self.newest_deletion(directory)?;
        Ok(newest.is_some_and(|entry| has_file(&entry)))
    }

    fn newest_deletion(&self, directory: &Path) -> Result<Option<DeletedProjectEntry>> {
        let now = self.clock.now();
        let entries = self.deletions()?.into_iter();
        let valid = entries.filter(|entry| entry.path == directory && entry.expires_at > now);
        Ok(valid.max_by_key(|entry| entry.at))
    }
}

/// Whether the file of a deleted project has been restored.
fn has_file(entry: &DeletedProjectEntry) -> bool {
    let current = Project::open(&entry.path).and_then(|project| project.back_up_file());
    current.is_ok_and(|current| current.text == entry.file.text)
}
