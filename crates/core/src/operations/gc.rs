//! Deleting undo copies, and leftovers of instances that were deleted outside this program.

use std::sync::Arc;

use super::Operations;
use super::instances::force_delete;
use super::undo_ledger::UndoCopy;
use crate::backend::{Backend, Leftover};
use crate::error::{ErrorKind, Result};
use crate::view::UndoView;

/// The result of a garbage collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of deleted undo copies.
    pub deleted: usize,
    /// Number of remaining undo copies.
    pub left: usize,
    /// Number of deleted leftovers.
    pub leftovers: usize,
    /// One message per failure.
    pub failed: Vec<String>,
}

impl Operations {
    /// Operations of all projects that can be undone.
    ///
    /// # Errors
    /// `Io` if the ledger cannot be read.
    pub fn undo_entries(&self) -> Result<Vec<UndoView>> {
        let undoable = self.undoable()?.into_iter();
        Ok(undoable.map(|(_, undo)| undo).collect())
    }

    /// Leftovers in the installed engines of instances that were deleted outside this program.
    ///
    /// # Errors
    /// Those of the engines.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>> {
        let mut all = Vec::new();
        for backend in self.installed_backends() {
            all.extend(backend.leftovers().await?);
        }
        Ok(all)
    }

    /// Deletes undo copies that have expired or exceed their share of the pool; with `all`, every undo copy
    /// and leftover.
    ///
    /// # Errors
    /// `Io` if the ledger cannot be read. A failed deletion is part of the result.
    pub async fn gc(&self, all: bool) -> Result<Collected> {
        self.recover().await?;
        let mut collected = Collected::default();
        for entry in self.ledger()? {
            if !all && !self.has_expired(&entry) {
                collected.left += 1;
                continue;
            }
            let deleted = async {
                let backend = self.backend_at(&entry.engine)?;
                self.delete_undo_copy(backend.as_ref(), &entry).await
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
        self.expire_deletions(all)?;
        if all {
            self.delete_leftovers(&mut collected).await;
        }
        let over_limit = self.enforce_undo_limit(None).await;
        collected.deleted += over_limit;
        collected.left = collected.left.saturating_sub(over_limit);
        Ok(collected)
    }

    fn installed_backends(&self) -> impl Iterator<Item = &Arc<dyn Backend>> {
        self.backends
            .iter()
            .filter(|backend| backend.is_installed())
    }

    async fn delete_leftovers(&self, collected: &mut Collected) {
        for backend in self.installed_backends() {
            let left = match backend.leftovers().await {
                Ok(left) => left,
                Err(error) => {
                    collected.failed.push(error.report().message);
                    continue;
                }
            };
            for leftover in left {
                match backend.delete_leftover(&leftover.id).await {
                    Ok(()) => collected.leftovers += 1,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        let why = error.report().message;
                        collected.failed.push(format!("{}: {why}", leftover.what));
                    }
                }
            }
        }
    }

    /// Deletes expired undo copies. Engines delete expired snapshots themselves. A failure is retried with
    /// the next operation.
    pub(super) async fn expire(&self) -> Result<()> {
        for entry in self.ledger()? {
            if !self.has_expired(&entry) {
                continue;
            }
            let deleted = match (&entry.copy, self.backend_at(&entry.engine)) {
                (UndoCopy::Snapshot { .. }, _) => Ok(()),
                (UndoCopy::Instance { name, .. }, Ok(backend)) => {
                    force_delete(backend.as_ref(), name).await
                }
                (UndoCopy::Instance { .. }, Err(error)) => Err(error),
            };
            if let Err(error) = deleted.and_then(|()| self.delete_entry(&entry.id)) {
                tracing::info!(id = %entry.id, ?error, "cannot delete an expired undo copy");
            }
        }
        self.expire_deletions(false)
    }
}
