//! Taking back a restore or a removal, for three days.
//!
//! The ledger has one file an operation, `undo/<id>.json`; what it names in the engine is called
//! `ldm-undo-<8 hex>`: a snapshot of the env as it was before a restore, or a removed env.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Engine;
use super::create::delete_whatever_state;
use super::place::Placed;
use super::restore::Restored;
use super::task::Task;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::home::{read_json, write_json};
use crate::model::{EngineKind, EnvName, InstanceName, OperationId, SnapshotName};
use crate::project::Project;
use crate::view::{EnvRef, UndoView, Verb};

/// How long an operation can be taken back.
const KEPT: SignedDuration = SignedDuration::from_hours(72);

/// One line of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    version: u32,
    id: OperationId,
    verb: Verb,
    env: EnvRef,
    engine: EngineKind,
    address: String,
    instance: InstanceName,
    at: Timestamp,
    expires_at: Timestamp,
    kept: Kept,
}

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Kept {
    /// What the env was before a restore.
    Snapshot { name: SnapshotName },
    /// A removed env under another name, and the file's text before it was removed.
    Instance { name: InstanceName, file: String },
}

impl Entry {
    fn view(&self) -> UndoView {
        UndoView {
            id: self.id.clone(),
            verb: self.verb,
            at: self.at,
            expires_at: self.expires_at,
        }
    }
}

impl Engine {
    /// Keeps what an env is now, before a restore.
    pub(super) async fn keep_for_undo(&self, task: &Task, placed: &Placed) -> Result<()> {
        let name = SnapshotName::undo(&task.id);
        let expires_at = self.clock.now() + KEPT;
        placed
            .backend
            .snapshot(&placed.instance.name, &name, Some(expires_at))
            .await?;
        self.write_entry(task, placed, Kept::Snapshot { name })
    }

    /// Renames a stopped env so that its name is free and it can come back.
    pub(super) async fn set_aside(&self, task: &Task, placed: &Placed, file: &str) -> Result<()> {
        let name = InstanceName::undo(&task.id);
        // First the ledger: a renamed instance that nobody knows would never be deleted.
        let kept = Kept::Instance {
            name: name.clone(),
            file: file.to_owned(),
        };
        self.write_entry(task, placed, kept)?;
        placed.backend.rename(&placed.instance.name, &name).await
    }

    fn write_entry(&self, task: &Task, placed: &Placed, kept: Kept) -> Result<()> {
        let at = self.clock.now();
        let entry = Entry {
            version: 1,
            id: task.id.clone(),
            verb: task.verb,
            env: task.env.clone(),
            engine: placed.backend.kind(),
            address: placed.backend.address(),
            instance: placed.instance.name.clone(),
            at,
            expires_at: at + KEPT,
            kept,
        };
        write_json(&self.entry_path(&task.id)?, &entry)
    }

    fn entry_path(&self, id: &OperationId) -> Result<std::path::PathBuf> {
        Ok(self.home.directory("undo")?.join(format!("{id}.json")))
    }

    /// The ledger, newest first.
    pub(super) fn ledger(&self) -> Result<Vec<Entry>> {
        let directory = self.home.directory("undo")?;
        let files = std::fs::read_dir(&directory)
            .map_err(|error| Error::io(format!("cannot read {}", directory.display()), error))?;
        let mut entries = Vec::new();
        for path in files.flatten().map(|file| file.path()) {
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                entries.extend(read_json::<Entry>(&path)?.0);
            }
        }
        entries.sort_by_key(|entry: &Entry| std::cmp::Reverse(entry.at));
        Ok(entries)
    }

    /// The newest operation of each env that can be taken back.
    pub(super) fn undoable(&self) -> Result<Vec<(EnvRef, UndoView)>> {
        let now = self.clock.now();
        let mut found: Vec<(EnvRef, UndoView)> = Vec::new();
        for entry in self.ledger()?.iter().filter(|entry| entry.expires_at > now) {
            if !found.iter().any(|(env, _)| *env == entry.env) {
                found.push((entry.env.clone(), entry.view()));
            }
        }
        Ok(found)
    }

    /// Takes the newest restore or removal back: of one env, or of the whole project. What was done
    /// since is kept first, so an undo can itself be undone. Returns the env.
    ///
    /// # Errors
    /// `NotFound` where there is nothing to take back, `AlreadyExists` where the name of a removed
    /// env was given away meanwhile.
    pub async fn undo(&self, project: &mut Project, env: Option<&EnvName>) -> Result<EnvName> {
        let path = project.directory().display().to_string();
        let now = self.clock.now();
        let entry = self.ledger()?.into_iter().find(|entry| {
            entry.env.project_path == path
                && entry.expires_at > now
                && env.is_none_or(|env| entry.env.env == *env)
        });
        let Some(entry) = entry else {
            let message = "there is nothing to undo here";
            return Err(Error::new(ErrorKind::NotFound, message)
                .with_hint("restores and removals can be undone for three days"));
        };
        let env = entry.env.env.clone();
        match &entry.kept {
            Kept::Snapshot { name } => {
                let Restored { .. } = self.restore_as(project, &env, name, Verb::Undo).await?;
                let placed = self.place(project, &env).await?;
                placed
                    .backend
                    .delete_snapshot(&placed.instance.name, name)
                    .await?;
            }
            Kept::Instance { name, file } => {
                let failed = |error: Error| error.context(format!("cannot bring `{env}` back"));
                let task = self
                    .begin(project, &env, Verb::Undo, None)
                    .await
                    .map_err(failed)?;
                let result = self.bring_back(project, &entry, name, file).await;
                self.end(task, result.map_err(failed))?;
            }
        }
        self.forget(&entry)?;
        Ok(env)
    }

    async fn bring_back(
        &self,
        project: &mut Project,
        entry: &Entry,
        kept: &InstanceName,
        file: &str,
    ) -> Result<()> {
        let env = &entry.env.env;
        if project.file().entry(env).is_some() || self.find(&entry.instance).await?.is_some() {
            let message = format!("another env is called `{env}` now");
            return Err(
                Error::new(ErrorKind::AlreadyExists, message).with_hint(format!(
                    "remove that one first: `lxc-dev-manager remove {env}`"
                )),
            );
        }
        let backend = self.backend_at(entry.engine, &entry.address)?;
        backend.rename(kept, &entry.instance).await?;
        project.bring_back(env, file)
    }

    fn forget(&self, entry: &Entry) -> Result<()> {
        let path = self.entry_path(&entry.id)?;
        std::fs::remove_file(&path)
            .map_err(|error| Error::io(format!("cannot delete {}", path.display()), error))
    }

    /// Deletes what can no longer be taken back. Snapshots expire in the engine by themselves.
    pub(super) async fn expire(&self) -> Result<()> {
        let now = self.clock.now();
        for entry in self
            .ledger()?
            .iter()
            .filter(|entry| entry.expires_at <= now)
        {
            let gone = match (&entry.kept, self.backend_at(entry.engine, &entry.address)) {
                (Kept::Snapshot { .. }, _) => Ok(()),
                (Kept::Instance { name, .. }, Ok(backend)) => {
                    delete_whatever_state(backend.as_ref(), name).await
                }
                (Kept::Instance { .. }, Err(error)) => Err(error),
            };
            match gone {
                Ok(()) => self.forget(entry)?,
                // Its engine is away: it is tried again with the next change.
                Err(error) => tracing::info!(id = %entry.id, ?error, "can't expire"),
            }
        }
        Ok(())
    }

    /// The backend that an old record names.
    pub(super) fn backend_at(
        &self,
        kind: EngineKind,
        address: &str,
    ) -> Result<std::sync::Arc<dyn Backend>> {
        let same = |backend: &&std::sync::Arc<dyn Backend>| {
            backend.kind() == kind && backend.address() == address
        };
        self.backends.iter().find(same).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Unreachable,
                format!("{kind} at {address} isn't asked now"),
            )
        })
    }
}
