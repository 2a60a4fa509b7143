//! The journal: a write-ahead log of operations, for recovery.
//!
//! One file per operation, `journal/<id>.json`: the record in the first line, then one line per step,
//! each synced to disk before the step begins. The owner locks the file; an unlocked one is orphaned.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::{EngineId, EnvName, InstanceName, OperationId, SnapshotName};
use crate::project::Project;
use crate::view::{EnvRef, OperationKind};

pub(super) const VERSION: u32 = 2;
/// Line for a failed attempt to recover.
const FAILED_ATTEMPT: &str = "\"failed\"";
/// Failed attempts after which a journal is dropped.
const MAX_ATTEMPTS: usize = 3;

/// The parameters of an operation, as needed for recovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OperationRecord {
    pub(super) version: u32,
    pub(super) id: OperationId,
    #[serde(rename = "verb")]
    pub(super) kind: OperationKind,
    pub(super) env: EnvRef,
    pub(super) engine: EngineId,
    pub(super) instance: InstanceName,
    pub(super) was_running: bool,
    pub(super) snapshot: Option<SnapshotName>,
    /// The entry of the undo ledger that it undoes.
    #[serde(default)]
    pub(super) undoes: Option<OperationId>,
    #[serde(default)]
    pub(super) detail: Option<Detail>,
    pub(super) started_at: Timestamp,
    /// The last start of the instance before the operation, by the engine's clock.
    #[serde(default)]
    pub(super) boot: Option<Timestamp>,
}

/// Parameters of one kind of operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Detail {
    /// The new names.
    Renamed {
        env: EnvName,
        instance: InstanceName,
    },
    /// A copy into a guest. `created` is the topmost directory created for it.
    #[serde(rename = "into-guest")]
    ToGuest {
        staging: String,
        target: String,
        #[serde(default, rename = "made")]
        created: Option<String>,
    },
    /// Name of the forward in the engine.
    #[serde(rename = "lent")]
    ForwardedSocket { name: String },
    /// A copy to the host, like [`Self::ToGuest`].
    #[serde(rename = "onto-host")]
    ToHost {
        staging: PathBuf,
        target: PathBuf,
        #[serde(default, rename = "made")]
        created: Option<PathBuf>,
    },
}

/// The phase of an operation, which decides how it is recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum JournalStep {
    /// Rolled back if interrupted.
    Preparing,
    /// Completed if interrupted.
    Committing,
    /// Done, except for the restart of an env that ran before.
    Restarting,
}

/// A journal that this process owns.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    pub(super) record: OperationRecord,
    pub(super) step: JournalStep,
    /// Failed attempts to recover.
    failures: usize,
}

impl OperationRecord {
    /// Opens the project of the env; `None` if it is gone.
    pub(super) fn open_project(&self) -> Result<Option<Project>> {
        match Project::open(Path::new(&self.env.project_path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The instance's name after the operation.
    pub(super) fn final_name(&self) -> &InstanceName {
        match &self.detail {
            Some(Detail::Renamed { instance, .. }) => instance,
            _ => &self.instance,
        }
    }

    /// Instances to lock, in lock order.
    pub(super) fn instances(&self) -> Vec<&InstanceName> {
        let mut instances = vec![&self.instance];
        if let Some(Detail::Renamed { instance, .. }) = &self.detail {
            instances.push(instance);
        }
        instances.sort();
        instances
    }
}

impl Journal {
    /// Creates the journal of an operation.
    pub(super) fn begin(home: &Home, record: OperationRecord) -> Result<Self> {
        let path = home
            .directory("journal")?
            .join(format!("{}.json", record.id));
        let failed = |error| {
            Error::io(
                format!("cannot write the journal {}", path.display()),
                error,
            )
        };
        let directory = path.parent().unwrap_or(&path).to_path_buf();
        // Locked before it gets its name: an unlocked file would count as orphaned.
        let temporary = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&directory);
        let temporary = temporary.map_err(failed)?;
        flock(temporary.as_file(), FlockOperation::LockExclusive)
            .map_err(|error| failed(error.into()))?;
        temporary
            .as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))
            .map_err(failed)?;
        let file = temporary
            .persist(&path)
            .map_err(|error| failed(error.error))?;
        let mut journal = Self {
            file,
            path: path.clone(),
            record,
            step: JournalStep::Preparing,
            failures: 0,
        };
        let line = serde_json::to_string(&journal.record);
        journal.append(&line.unwrap_or_default())?;
        // The directory entry has to be on disk, too.
        File::open(&directory)
            .and_then(|names| names.sync_all())
            .map_err(failed)?;
        Ok(journal)
    }

    /// Path of an operation's journal, which may not exist.
    pub(super) fn of_operation(home: &Home, id: &OperationId) -> Result<PathBuf> {
        Ok(home.directory("journal")?.join(format!("{id}.json")))
    }

    /// Records the phase that is about to begin.
    pub(super) fn enter(&mut self, step: JournalStep) -> Result<()> {
        self.step = step;
        let line = serde_json::to_string(&self.step);
        self.append(&line.unwrap_or_default())
    }

    fn append(&mut self, line: &str) -> Result<()> {
        let written = writeln!(self.file, "{line}").and_then(|()| self.file.sync_data());
        let path = self.path.display();
        written.map_err(|error| Error::io(format!("cannot write the journal {path}"), error))
    }

    /// Deletes the journal of an ended operation.
    pub(super) fn close(self) {
        // If this fails, recovery finds the file and nothing left to do.
        let _ = fs::remove_file(&self.path);
        if let Some(Ok(names)) = self.path.parent().map(File::open) {
            let _ = names.sync_all();
        }
    }

    /// Paths of all journals, owned or not.
    pub(super) fn all(home: &Home) -> Result<Vec<PathBuf>> {
        let directory = home.directory("journal")?;
        let failed = |error| Error::io(format!("cannot read {}", directory.display()), error);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Takes over an orphaned journal; `None` while it has an owner.
    pub(super) fn claim(path: &Path) -> Option<Self> {
        Self::open(path.to_path_buf(), false)
    }

    /// Journals of an instance whose lock the caller holds.
    pub(super) fn for_instance(home: &Home, instance: &InstanceName) -> Result<Vec<Self>> {
        let mut journals = Vec::new();
        for path in Self::all(home)? {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let first = text.lines().next().unwrap_or_default();
            let Ok(record) = serde_json::from_str::<OperationRecord>(first) else {
                continue;
            };
            if !record.instances().contains(&instance) {
                continue;
            }
            // Another process may hold it for a moment in `claim`. A socket forward holds it while it lasts.
            let wait = record.kind != OperationKind::ForwardSocket;
            journals.extend(Self::open(path, wait));
        }
        Ok(journals)
    }

    /// Records a failed attempt to recover; returns whether it was the last.
    pub(super) fn record_failure(&mut self) -> bool {
        self.failures += 1;
        // If this fails, there is one more attempt.
        let _ = self.append(FAILED_ATTEMPT);
        self.failures >= MAX_ATTEMPTS
    }

    fn open(path: PathBuf, wait: bool) -> Option<Self> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .ok()?;
        let operation = if wait {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        flock(&file, operation).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let Some((first, rest)) = text.split_once('\n') else {
            // Killed before the first line was complete, so before any step.
            let _ = fs::remove_file(&path);
            return None;
        };
        let record = match serde_json::from_str::<OperationRecord>(first) {
            Ok(record) if record.version == VERSION => record,
            // Written by another version, which can recover it.
            _ => {
                tracing::warn!(path = %path.display(), "skipping a journal of another version");
                return None;
            }
        };
        let mut steps = rest
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let step = steps.next_back().unwrap_or(JournalStep::Preparing);
        path.exists().then_some(Self {
            file,
            path,
            record,
            step,
            failures: rest.lines().filter(|line| *line == FAILED_ATTEMPT).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EngineKind, EngineProject};

    fn orphans(home: &Home) -> Vec<Journal> {
        let paths = Journal::all(home).unwrap();
        paths
            .iter()
            .filter_map(|path| Journal::claim(path))
            .collect()
    }

    fn record() -> OperationRecord {
        OperationRecord {
            version: VERSION,
            id: OperationId::random(),
            kind: OperationKind::Restore,
            env: EnvRef {
                project_path: "/p".into(),
                env: "dev".parse().unwrap(),
            },
            engine: EngineId {
                kind: EngineKind::Lxd,
                address: "/socket".into(),
                project: EngineProject::default_project(),
            },
            instance: "p-dev".parse().unwrap(),
            was_running: true,
            snapshot: Some(SnapshotName::initial_state()),
            undoes: None,
            detail: None,
            started_at: Timestamp::UNIX_EPOCH,
            boot: None,
        }
    }

    #[test]
    fn claims_only_orphaned_journals() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let mut owned = Journal::begin(&home, record()).unwrap();
        assert!(orphans(&home).is_empty());
        owned.enter(JournalStep::Committing).unwrap();
        drop(owned);
        let orphans = orphans(&home);
        assert_eq!(orphans.len(), 1);
        assert_eq!(orphans[0].step, JournalStep::Committing);
        assert!(orphans[0].record.was_running);
    }

    #[test]
    fn ignores_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let journal = Journal::begin(&home, record()).unwrap();
        let path = journal.path.clone();
        drop(journal);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        write!(file, "\"commit").unwrap();
        let orphans = orphans(&home);
        assert_eq!(orphans[0].step, JournalStep::Preparing);
    }

    #[test]
    fn keeps_records_of_other_versions() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let other = OperationRecord {
            version: VERSION + 1,
            ..record()
        };
        let path = Journal::begin(&home, other).unwrap().path.clone();
        assert!(orphans(&home).is_empty());
        assert!(path.exists());
    }

    #[test]
    fn close_deletes_the_journal() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        Journal::begin(&home, record()).unwrap().close();
        assert_eq!(
            fs::read_dir(directory.path().join("journal"))
                .unwrap()
                .count(),
            0
        );
    }
}
