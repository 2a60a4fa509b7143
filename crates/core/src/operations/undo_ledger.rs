//! The undo ledger: operations that can be undone, for three days.
//!
//! One file per operation, `undo/<id>.json`. Its undo copy is called `ldm-undo-<8 hex>` in the engine:
//! the snapshot before a restore, or the removed instance. An entry without its copy is harmless.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::resolve::ResolvedEnv;
use super::{Operations, delete_file_if_present};
use crate::error::Result;
use crate::home::{read_all, read_json, write_json};
use crate::model::{EngineId, InstanceName, OperationId, SnapshotName};
use crate::view::{EnvRef, OperationKind, UndoView};

const VERSION: u32 = 1;

pub(super) const UNDO_RETENTION: SignedDuration = SignedDuration::from_hours(72);

/// Time between the first look at an expired entry and its deletion.
const EXPIRY_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// An operation that can be undone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct UndoEntry {
    version: u32,
    pub(super) id: OperationId,
    #[serde(rename = "verb")]
    pub(super) kind: OperationKind,
    pub(super) env: EnvRef,
    pub(super) engine: EngineId,
    pub(super) instance: InstanceName,
    at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// When it was first found to be expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expired_seen_at: Option<Timestamp>,
    #[serde(rename = "kept")]
    pub(super) copy: UndoCopy,
}

/// The copy that an undo restores.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum UndoCopy {
    /// The state before a restore.
    Snapshot { name: SnapshotName },
    /// A removed env, and the text of the file before.
    Instance {
        name: InstanceName,
        file: String,
        #[serde(default)]
        was_running: bool,
        /// Whether it had autostart, which is off in the copy.
        #[serde(default)]
        autostart: bool,
    },
}

/// An operation, as identified in the ledger.
pub(super) struct OperationRef<'a> {
    pub(super) id: &'a OperationId,
    pub(super) kind: OperationKind,
    pub(super) env: &'a EnvRef,
}

impl UndoEntry {
    fn view(&self) -> UndoView {
        UndoView {
            id: self.id.clone(),
            kind: self.kind,
            at: self.at,
            expires_at: self.expires_at,
        }
    }
}

impl Operations {
    pub(super) fn write_entry(
        &self,
        operation_ref: &OperationRef<'_>,
        resolved: &ResolvedEnv,
        copy: UndoCopy,
    ) -> Result<()> {
        let at = self.clock.now();
        let entry = UndoEntry {
            version: VERSION,
            id: operation_ref.id.clone(),
            kind: operation_ref.kind,
            env: operation_ref.env.clone(),
            engine: resolved.backend.id().clone(),
            instance: resolved.instance.name.clone(),
            at,
            expires_at: at + UNDO_RETENTION,
            expired_seen_at: None,
            copy,
        };
        write_json(&self.entry_path(&entry.id)?, &entry)
    }

    fn entry_path(&self, id: &OperationId) -> Result<std::path::PathBuf> {
        Ok(self.home.directory("undo")?.join(format!("{id}.json")))
    }

    /// The entry of an operation, if there is one.
    pub(super) fn ledger_entry(&self, id: &OperationId) -> Result<Option<UndoEntry>> {
        Ok(read_json(&self.entry_path(id)?, VERSION)?.0)
    }

    /// Whether the copy of an entry may be deleted: it was found to be expired twice, some time apart. Once is not
    /// enough, because the clock may be wrong for a moment.
    pub(super) fn has_expired(&self, entry: &UndoEntry) -> bool {
        let now = self.clock.now();
        let seen_at = (entry.expires_at <= now).then_some(now);
        match (entry.expired_seen_at, seen_at) {
            (Some(first), Some(now)) if first <= now => now >= first + EXPIRY_DELAY,
            (known, _) if known == seen_at => false,
            _ => {
                let entry = UndoEntry {
                    expired_seen_at: seen_at,
                    ..entry.clone()
                };
                let path = self.entry_path(&entry.id);
                // On a full disk it is looked at again later.
                if let Err(error) = path.and_then(|path| write_json(&path, &entry)) {
                    tracing::warn!(?error, "cannot note that an undo copy has expired");
                }
                false
            }
        }
    }

    /// All entries, newest first.
    pub(super) fn ledger(&self) -> Result<Vec<UndoEntry>> {
        let mut entries = read_all(&self.home.directory("undo")?, VERSION)?;
        entries.sort_by_key(|entry: &UndoEntry| std::cmp::Reverse(entry.at));
        Ok(entries)
    }

    /// Operations that can be undone, newest first.
    pub(super) fn undoable(&self) -> Result<Vec<(EnvRef, UndoView)>> {
        let now = self.clock.now();
        let ledger = self.ledger()?.into_iter();
        let valid = ledger.filter(|entry| entry.expires_at > now);
        Ok(valid
            .map(|entry| (entry.env.clone(), entry.view()))
            .collect())
    }

    /// Deletes an entry. A missing one is a success.
    pub(super) fn delete_entry(&self, id: &OperationId) -> Result<()> {
        self.delete_sleep_mark(&InstanceName::undo(id))?;
        delete_file_if_present(&self.entry_path(id)?)
    }

    /// Deletes the entries with snapshots of an env, before a new env gets its name.
    pub(super) fn delete_snapshot_entries(&self, env: &EnvRef) -> Result<()> {
        for entry in self.ledger()? {
            if entry.env == *env && matches!(entry.copy, UndoCopy::Snapshot { .. }) {
                self.delete_entry(&entry.id)?;
            }
        }
        Ok(())
    }

    /// Renames an env in the entries with snapshots.
    pub(super) fn rename_in_ledger(
        &self,
        old: &EnvRef,
        new: &EnvRef,
        instance: &InstanceName,
    ) -> Result<()> {
        for entry in self.ledger()? {
            if entry.env == *old && matches!(entry.copy, UndoCopy::Snapshot { .. }) {
                let renamed = UndoEntry {
                    env: new.clone(),
                    instance: instance.clone(),
                    ..entry
                };
                write_json(&self.entry_path(&renamed.id)?, &renamed)?;
            }
        }
        Ok(())
    }
}
