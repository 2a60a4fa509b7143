//! Deleting what undo keeps, and what instances have left that somebody has deleted past us.

use super::Operations;
use crate::backend::Leftover;
use crate::error::{ErrorKind, Result};
use crate::view::UndoView;

/// What was deleted of what undo kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many operations can't be undone any more.
    pub deleted: usize,
    /// How many still can.
    pub left: usize,
    /// How much of what instances have left went, that somebody has deleted past us.
    pub leftovers: usize,
    /// What could not be deleted, and why.
    pub failed: Vec<String>,
}

impl Operations {
    /// What can be undone, of all projects.
    ///
    /// # Errors
    /// `Io` where the ledger can't be read.
    pub fn kept(&self) -> Result<Vec<UndoView>> {
        let undoable = self.undoable()?.into_iter();
        Ok(undoable.map(|(_, undo)| undo).collect())
    }

    /// What is left in the engines of instances that somebody has deleted past us. An engine that isn't there has nothing.
    ///
    /// # Errors
    /// Why an engine can't tell.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>> {
        let mut all = Vec::new();
        for backend in self
            .backends
            .iter()
            .filter(|backend| backend.is_installed())
        {
            all.extend(backend.leftovers().await?);
        }
        Ok(all)
    }

    /// Deletes what undo has kept for long enough and what is beyond its share of the pool; with `all` everything that it
    /// keeps, and what deleted instances have left.
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
                self.delete_copy(backend.as_ref(), &entry).await
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
        if all {
            self.clear(&mut collected).await;
        }
        let given_up = self.enforce_undo_limit(None).await;
        collected.deleted += given_up;
        collected.left = collected.left.saturating_sub(given_up);
        Ok(collected)
    }

    /// Deletes what deleted instances have left.
    async fn clear(&self, collected: &mut Collected) {
        for backend in self
            .backends
            .iter()
            .filter(|backend| backend.is_installed())
        {
            let left = match backend.leftovers().await {
                Ok(left) => left,
                Err(error) => {
                    collected.failed.push(error.report().message);
                    continue;
                }
            };
            for one in left {
                match backend.delete_leftover(&one.id).await {
                    Ok(()) => collected.leftovers += 1,
                    // Somebody else was quicker.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        let why = error.report().message;
                        collected.failed.push(format!("{}: {why}", one.what));
                    }
                }
            }
        }
    }
}
