//! The ledger of deleted projects, `undo/projects/<id>.json`: removals that are undone together.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Operations, delete_file_if_present};
use crate::error::Result;
use crate::home::read_all;
use crate::model::OperationId;
use crate::project::FileBackup;

pub(super) const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DeletedProjectEntry {
    pub(super) version: u32,
    pub(super) id: OperationId,
    pub(super) path: PathBuf,
    pub(super) file: FileBackup,
    /// In order of removal.
    pub(super) removals: Vec<OperationId>,
    pub(super) at: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Operations {
    pub(super) fn deletions(&self) -> Result<Vec<DeletedProjectEntry>> {
        read_all(&self.home.directory("undo/projects")?, VERSION)
    }

    pub(super) fn expire_deletions(&self, all: bool) -> Result<()> {
        let now = self.clock.now();
        for entry in self.deletions()? {
            if all || entry.expires_at <= now {
                self.remove_deletion(&entry.id)?;
            }
        }
        Ok(())
    }

    pub(super) fn deletion_path(&self, id: &OperationId) -> Result<PathBuf> {
        let directory = self.home.directory("undo/projects")?;
        Ok(directory.join(format!("{id}.json")))
    }

    pub(super) fn remove_deletion(&self, id: &OperationId) -> Result<()> {
        delete_file_if_present(&self.deletion_path(id)?)
    }
}
