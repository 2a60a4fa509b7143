//! The undo ledger: what can be taken back, for three days.
//!
//! One file an operation, `undo/<id>.json`; what it names in the engine is called `ldm-undo-<8 hex>`:
//! a snapshot of the env as it was before a restore, or a removed env. An entry that the engine
//! doesn't know any more is worth nothing and does no harm.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Operations;
use super::create::force_delete;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, Instance, Settings};
use crate::error::{Error, Result};
use crate::home::{read_all, read_json, write_json};
use crate::model::{EngineId, InstanceName, OperationId, SnapshotName};
use crate::view::{EnvRef, OperationKind, UndoView};

const VERSION: u32 = 1;

/// How long an operation can be taken back.
pub(super) const UNDO_RETENTION: SignedDuration = SignedDuration::from_hours(72);

/// One line of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    version: u32,
    pub(super) id: OperationId,
    #[serde(rename = "verb")]
    pub(super) kind: OperationKind,
    pub(super) env: EnvRef,
    pub(super) engine: EngineId,
    pub(super) instance: InstanceName,
    at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) kept: UndoCopy,
}

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum UndoCopy {
    /// What the env was before a restore.
    Snapshot { name: SnapshotName },
    /// A removed env under another name, and the file's text before it was removed.
    Instance {
        name: InstanceName,
        file: String,
        #[serde(default)]
        was_running: bool,
        /// It was started with the engine, which it must not be meanwhile.
        #[serde(default)]
        autostart: bool,
    },
}

/// Which operation keeps something.
pub(super) struct OperationRef<'a> {
    pub(super) id: &'a OperationId,
    pub(super) kind: OperationKind,
    pub(super) env: &'a EnvRef,
}

impl Entry {
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
    /// Keeps what an env is now, before a restore.
    pub(super) async fn take_undo_copy(
        &self,
        operation: &Operation,
        resolved: &ResolvedEnv,
    ) -> Result<()> {
        let operation_ref = operation.operation_ref();
        let name = SnapshotName::undo(operation_ref.id);
        let expires_at = self.clock.now() + UNDO_RETENTION;
        resolved
            .backend
            .snapshot(
                &resolved.instance.name,
                &name,
                Some(expires_at),
                &self.progress(operation),
            )
            .await?;
        self.write_entry(&operation_ref, resolved, UndoCopy::Snapshot { name })
    }

    /// Renames a stopped env so that its name is free and it can come back.
    pub(super) async fn move_aside(
        &self,
        operation_ref: &OperationRef<'_>,
        resolved: &ResolvedEnv,
        file: &str,
        was_running: bool,
    ) -> Result<()> {
        let name = InstanceName::undo(operation_ref.id);
        // First the ledger: a renamed instance that nobody knows would never be deleted.
        let kept = UndoCopy::Instance {
            name: name.clone(),
            file: file.to_owned(),
            was_running,
            autostart: resolved.instance.settings.autostart,
        };
        self.write_entry(operation_ref, resolved, kept)?;
        let (backend, instance) = (&resolved.backend, &resolved.instance);
        backend.end_socket_forwards(&instance.name).await?;
        if instance.settings.autostart {
            set_autostart(backend.as_ref(), instance, false).await?;
        }
        backend.rename(&instance.name, &name).await?;
        self.move_sleep_mark(&instance.name, &name)
    }

    fn write_entry(
        &self,
        operation_ref: &OperationRef<'_>,
        resolved: &ResolvedEnv,
        kept: UndoCopy,
    ) -> Result<()> {
        let at = self.clock.now();
        let entry = Entry {
            version: VERSION,
            id: operation_ref.id.clone(),
            kind: operation_ref.kind,
            env: operation_ref.env.clone(),
            engine: resolved.backend.id().clone(),
            instance: resolved.instance.name.clone(),
            at,
            expires_at: at + UNDO_RETENTION,
            kept,
        };
        write_json(&self.entry_path(&entry.id)?, &entry)
    }

    fn entry_path(&self, id: &OperationId) -> Result<std::path::PathBuf> {
        Ok(self.home.directory("undo")?.join(format!("{id}.json")))
    }

    /// The entry of one operation; `None` where there is none any more.
    pub(super) fn ledger_entry(&self, id: &OperationId) -> Result<Option<Entry>> {
        Ok(read_json(&self.entry_path(id)?, VERSION)?.0)
    }

    /// The ledger, newest first.
    pub(super) fn ledger(&self) -> Result<Vec<Entry>> {
        let mut entries = read_all(&self.home.directory("undo")?, VERSION)?;
        entries.sort_by_key(|entry: &Entry| std::cmp::Reverse(entry.at));
        Ok(entries)
    }

    /// What can be taken back, newest first.
    pub(super) fn undoable(&self) -> Result<Vec<(EnvRef, UndoView)>> {
        let now = self.clock.now();
        let ledger = self.ledger()?.into_iter();
        let lasting = ledger.filter(|entry| entry.expires_at > now);
        Ok(lasting
            .map(|entry| (entry.env.clone(), entry.view()))
            .collect())
    }

    /// Strikes an entry out; one that isn't there is a success.
    pub(super) fn delete_entry(&self, id: &OperationId) -> Result<()> {
        self.delete_sleep_mark(&InstanceName::undo(id))?;
        let path = self.entry_path(id)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(
                format!("cannot delete {}", path.display()),
                error,
            )),
            _ => Ok(()),
        }
    }

    /// Strikes out what was kept of an env by snapshots: a new env of that name has none of them.
    pub(super) fn delete_snapshot_entries(&self, env: &EnvRef) -> Result<()> {
        for entry in self.ledger()? {
            if entry.env == *env && matches!(entry.kept, UndoCopy::Snapshot { .. }) {
                self.delete_entry(&entry.id)?;
            }
        }
        Ok(())
    }

    /// What is kept of an env by snapshots is kept of it under its new name.
    pub(super) fn rename_in_ledger(
        &self,
        old: &EnvRef,
        new: &EnvRef,
        instance: &InstanceName,
    ) -> Result<()> {
        for entry in self.ledger()? {
            if entry.env == *old && matches!(entry.kept, UndoCopy::Snapshot { .. }) {
                let renamed = Entry {
                    env: new.clone(),
                    instance: instance.clone(),
                    ..entry
                };
                write_json(&self.entry_path(&renamed.id)?, &renamed)?;
            }
        }
        Ok(())
    }

    /// Deletes what can no longer be taken back. Snapshots expire in the engine by themselves. What
    /// fails is tried again with the next change, and doesn't keep this one from being made.
    pub(super) async fn expire(&self) -> Result<()> {
        let now = self.clock.now();
        for entry in self.ledger()? {
            if entry.expires_at > now {
                continue;
            }
            let gone = match (&entry.kept, self.backend_at(&entry.engine)) {
                (UndoCopy::Snapshot { .. }, _) => Ok(()),
                (UndoCopy::Instance { name, .. }, Ok(backend)) => {
                    force_delete(backend.as_ref(), name).await
                }
                (UndoCopy::Instance { .. }, Err(error)) => Err(error),
            };
            if let Err(error) = gone.and_then(|()| self.delete_entry(&entry.id)) {
                tracing::info!(id = %entry.id, ?error, "can't expire");
            }
        }
        self.forget_deletions(false)
    }
}

/// Has an instance started with its engine, or not; all else that is set on it stays.
pub(super) async fn set_autostart(
    backend: &dyn Backend,
    instance: &Instance,
    autostart: bool,
) -> Result<()> {
    let settings = Settings {
        autostart,
        ..instance.settings.clone()
    };
    backend.configure(&instance.name, &settings).await
}
