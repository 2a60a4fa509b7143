//! Deleting what undo keeps.

use super::Engine;
use crate::error::Result;
use crate::view::UndoView;

/// What was deleted of what undo kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many operations can't be undone any more.
    pub deleted: usize,
    /// How many still can.
    pub left: usize,
    /// What could not be deleted, and why.
    pub failed: Vec<String>,
}

impl Engine {
    /// What can be undone, of all projects.
    ///
    /// # Errors
    /// `Io` where the ledger can't be read.
    pub fn kept(&self) -> Result<Vec<UndoView>> {
        let undoable = self.undoable()?.into_iter();
        Ok(undoable.map(|(_, undo)| undo).collect())
    }

    /// Deletes what undo has kept for long enough and what is beyond its share of the pool; with `all` everything that it keeps.
    ///
    /// # Errors
    /// `Io` where the ledger can't be read. What an engine doesn't delete is told.
    pub async fn collect(&self, all: bool) -> Result<Collected> {
        self.recover().await?;
        let now = self.clock.now();
        let mut collected = Collected::default();
        for entry in self.ledger()? {
            if !all && entry.expires_at > now {
                collected.left += 1;
                continue;
            }
            let deleted = async {
                let backend = self.backend_at(&entry.engine)?;
                self.give_up(backend.as_ref(), &entry).await
            };
            match deleted.await {
                Ok(()) => collected.deleted += 1,
                Err(error) => {
                    let env = &entry.env.env;
                    let why = error.report().message;
                    collected.failed.push(format!("`{env}`: {why}"));
                }
            }
        }
        self.forget_deletions(all)?;
        let given_up = self.trim(None).await;
        collected.deleted += given_up;
        collected.left = collected.left.saturating_sub(given_up);
        Ok(collected)
    }
}
