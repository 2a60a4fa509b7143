//! The space limit of undo copies: the oldest are deleted first, the newest never.

use std::collections::HashMap;

use super::Operations;
use super::instances::{delete_snapshot_if_present, force_delete};
use super::lock::EnvLock;
use super::undo_ledger::{UndoCopy, UndoEntry};
use crate::backend::{Backend, Capabilities};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, InstanceName};
use crate::preferences::UndoPreferences;

const NEARLY_FULL_PERCENT: u64 = 90;

impl Operations {
    /// Deletes undo copies that exceed their share of a pool, and the oldest one of a nearly full pool;
    /// returns their number. `own` is the instance that the caller has locked. A failure is retried with
    /// the next operation.
    pub(super) async fn enforce_undo_limit(&self, own: Option<&InstanceName>) -> usize {
        let deleted = async {
            let undo = self.preferences()?.undo;
            let mut by_engine: HashMap<EngineId, Vec<UndoEntry>> = HashMap::new();
            for entry in self.ledger()? {
                by_engine
                    .entry(entry.engine.clone())
                    .or_default()
                    .push(entry);
            }
            let mut deleted = 0;
            for (engine, newest_first) in by_engine {
                let Ok(backend) = self.backend_at(&engine) else {
                    continue;
                };
                if newest_first.len() > 1 {
                    let limited = self.enforce_limit(backend.as_ref(), newest_first, &undo, own);
                    deleted += limited.await?;
                }
            }
            Ok::<_, Error>(deleted)
        };
        deleted.await.unwrap_or_else(|error| {
            tracing::info!(?error, "cannot enforce the limit of undo copies");
            0
        })
    }

    async fn enforce_limit(
        &self,
        backend: &dyn Backend,
        newest_first: Vec<UndoEntry>,
        undo: &UndoPreferences,
        own: Option<&InstanceName>,
    ) -> Result<usize> {
        let Some(space) = backend.pool_space().await? else {
            return Ok(0);
        };
        let limit = undo.max_share.of(space.total);
        // Measuring each copy takes a while, and is not needed here.
        if space.used <= limit {
            return Ok(0);
        }
        let mut held = 0;
        let mut deleted = 0;
        let oldest = newest_first.len() - 1;
        let nearly_full = space.used > space.total / 100 * NEARLY_FULL_PERCENT;
        for (position, entry) in newest_first.iter().enumerate() {
            held += held_bytes(backend, entry).await?;
            let reason = match position {
                0 => continue,
                _ if held > limit => {
                    format!("undo copies are limited to {} of the pool", undo.max_share)
                }
                _ if position == oldest && nearly_full && deleted == 0 => {
                    "the storage pool is nearly full".to_owned()
                }
                _ => continue,
            };
            let is_own = own == Some(&entry.instance);
            let lock = if is_own {
                None
            } else {
                EnvLock::try_acquire(&self.home, &entry.instance, entry.kind)?
            };
            if lock.is_none() && !is_own {
                // Its undo may be running.
                continue;
            }
            self.delete_undo_copy(backend, entry).await?;
            let (noun, env) = (entry.kind.labels().noun, &entry.env.env);
            self.notice(format!(
                "the {noun} of `{env}` can no longer be undone: {reason}"
            ));
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Deletes the undo copy of an entry, and the entry.
    pub(super) async fn delete_undo_copy(
        &self,
        backend: &dyn Backend,
        entry: &UndoEntry,
    ) -> Result<()> {
        match &entry.copy {
            UndoCopy::Instance { name, .. } => force_delete(backend, name).await?,
            UndoCopy::Snapshot { name } => {
                delete_snapshot_if_present(backend, &entry.instance, name).await?;
            }
        }
        self.delete_entry(&entry.id)
    }
}

/// Whether an operation keeps an undo copy, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoPolicy {
    Keep,
    /// [`UndoPreferences::max_share`] is zero.
    Disabled,
    /// The pool has no copy-on-write, and [`UndoPreferences::on_dir`] is off.
    TooExpensive,
    /// A restore would delete the copy, which is later than the snapshot (zfs).
    Unsupported,
}

impl UndoPolicy {
    pub(super) fn for_removal(capabilities: &Capabilities, undo: &UndoPreferences) -> Self {
        match undo.max_share.is_zero() {
            true => Self::Disabled,
            false if capabilities.copy_on_write || undo.on_dir => Self::Keep,
            false => Self::TooExpensive,
        }
    }

    pub(super) fn for_restore(capabilities: &Capabilities, undo: &UndoPreferences) -> Self {
        match Self::for_removal(capabilities, undo) {
            Self::Keep if !capabilities.restore_keeps_later_snapshots => Self::Unsupported,
            other => other,
        }
    }
}

/// Bytes that the undo copy of an entry uses; 0 if unknown.
async fn held_bytes(backend: &dyn Backend, entry: &UndoEntry) -> Result<u64> {
    let held = match &entry.copy {
        UndoCopy::Instance { name, .. } => backend.held_bytes(name, None).await,
        UndoCopy::Snapshot { name } => backend.held_bytes(&entry.instance, Some(name)).await,
    };
    match held {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        held => Ok(held?.unwrap_or_default()),
    }
}
