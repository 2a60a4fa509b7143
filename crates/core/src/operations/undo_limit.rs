//! How much undo may hold: what is too old for its share of a pool goes, the newest last.

use std::collections::HashMap;

use super::Operations;
use super::create::force_delete;
use super::lock::EnvLock;
use super::undo_ledger::{Entry, UndoCopy};
use crate::backend::{Backend, Capabilities};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, InstanceName};
use crate::preferences::{Preferences, UndoPreferences};

/// A pool that is fuller than this, in percent, has no room for what nobody may want again.
const NEARLY_FULL: u64 = 90;

impl Operations {
    /// What the user prefers. A file that can't be understood is set aside, which is said.
    pub(super) fn preferences(&self) -> Result<Preferences> {
        let (preferences, warning) = Preferences::read(&self.home)?;
        if let Some(warning) = warning {
            self.notice(warning);
        }
        Ok(preferences)
    }

    /// Gives up what undo holds beyond its share of each pool, and the oldest of it where the pool is
    /// nearly full. What was kept last always stays. `own` is the instance that the caller has locked.
    /// Returns how many operations can't be undone any more. What fails is tried again the next time.
    pub(super) async fn enforce_undo_limit(&self, own: Option<&InstanceName>) -> usize {
        let trimmed = async {
            let undo = self.preferences()?.undo;
            let mut by_engine: HashMap<EngineId, Vec<Entry>> = HashMap::new();
            for entry in self.ledger()? {
                by_engine
                    .entry(entry.engine.clone())
                    .or_default()
                    .push(entry);
            }
            let mut given_up = 0;
            for (engine, newest_first) in by_engine {
                // With one there is nothing to give up; an engine that is away keeps what it has.
                let Ok(backend) = self.backend_at(&engine) else {
                    continue;
                };
                if newest_first.len() > 1 {
                    let trimmed = self.enforce_limit(backend.as_ref(), newest_first, &undo, own);
                    given_up += trimmed.await?;
                }
            }
            Ok::<_, Error>(given_up)
        };
        trimmed.await.unwrap_or_else(|error| {
            tracing::info!(?error, "what undo holds can't be told");
            0
        })
    }

    async fn enforce_limit(
        &self,
        backend: &dyn Backend,
        newest_first: Vec<Entry>,
        undo: &UndoPreferences,
        own: Option<&InstanceName>,
    ) -> Result<usize> {
        let Some(space) = backend.pool_space().await? else {
            return Ok(0);
        };
        let limit = undo.max_share.of(space.total);
        // All of the pool is less than what undo may hold: nothing has to be measured.
        if space.used <= limit {
            return Ok(0);
        }
        let mut held = 0;
        let mut given_up = 0;
        let oldest = newest_first.len() - 1;
        let nearly_full = space.used > space.total / 100 * NEARLY_FULL;
        for (place, entry) in newest_first.iter().enumerate() {
            held += held_by(backend, entry).await?;
            let why = match place {
                0 => continue,
                _ if held > limit => format!("undo may hold {} of the pool", undo.max_share),
                _ if place == oldest && nearly_full && given_up == 0 => {
                    "the storage pool is nearly full".to_owned()
                }
                _ => continue,
            };
            let locked = match own == Some(&entry.instance) {
                true => None,
                false => EnvLock::try_take(&self.home, &entry.instance, entry.kind)?,
            };
            if locked.is_none() && own != Some(&entry.instance) {
                // Somebody works there, and may be taking it back right now.
                continue;
            }
            self.delete_copy(backend, entry).await?;
            let (noun, env) = (entry.kind.noun(), &entry.env.env);
            self.notice(format!(
                "the {noun} of `{env}` can't be undone any more: {why}"
            ));
            given_up += 1;
        }
        Ok(given_up)
    }

    /// Deletes what one operation keeps.
    pub(super) async fn delete_copy(&self, backend: &dyn Backend, entry: &Entry) -> Result<()> {
        match &entry.kept {
            UndoCopy::Instance { name, .. } => force_delete(backend, name).await?,
            UndoCopy::Snapshot { name } => {
                match backend.delete_snapshot(&entry.instance, name).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        self.delete_entry(&entry.id)
    }
}

/// Whether something is kept for undo, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoPolicy {
    /// It is.
    Keep,
    /// The user wants no undo: [`UndoPreferences::max_share`] is nothing.
    Disabled,
    /// The pool would copy everything, and the user hasn't asked for that:
    /// [`UndoPreferences::on_dir`].
    TooExpensive,
    /// Going back deletes what is later, and so would the copy be (zfs).
    Unsupported,
}

impl UndoPolicy {
    /// Of a removed env.
    pub(super) fn of_removal(capabilities: &Capabilities, undo: &UndoPreferences) -> Self {
        match undo.max_share.is_nothing() {
            true => Self::Disabled,
            false if capabilities.copy_on_write || undo.on_dir => Self::Keep,
            false => Self::TooExpensive,
        }
    }

    /// Of an env before a restore.
    pub(super) fn of_restore(capabilities: &Capabilities, undo: &UndoPreferences) -> Self {
        match Self::of_removal(capabilities, undo) {
            Self::Keep if !capabilities.restore_keeps_later_snapshots => Self::Unsupported,
            other => other,
        }
    }
}

/// Bytes that an entry alone holds, as far as the engine tells.
async fn held_by(backend: &dyn Backend, entry: &Entry) -> Result<u64> {
    let held = match &entry.kept {
        UndoCopy::Instance { name, .. } => backend.held_bytes(name, None).await,
        UndoCopy::Snapshot { name } => backend.held_bytes(&entry.instance, Some(name)).await,
    };
    match held {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        held => Ok(held?.unwrap_or_default()),
    }
}
