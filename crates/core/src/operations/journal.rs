//! The journal: what an operation is about to do, on the disk before it does it.
//!
//! One file an operation, `journal/<id>.json`: the record in the first line, then one line a step,
//! each flushed to the disk. The file is locked by its owner; an unlocked one is an orphan.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::home::Home;
use crate::model::{EngineId, EnvName, InstanceName, OperationId, SnapshotName};
use crate::view::{EnvRef, OperationKind};

const VERSION: u32 = 2;
/// The line of a failed try to mend it.
const FAILED: &str = "\"failed\"";
/// How often mending may fail before it is given up.
const TRIES: usize = 3;

/// What an operation is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OperationRecord {
    pub(super) version: u32,
    pub(super) id: OperationId,
    #[serde(rename = "verb")]
    pub(super) kind: OperationKind,
    pub(super) env: EnvRef,
    pub(super) engine: EngineId,
    pub(super) instance: InstanceName,
    /// Whether it ran before.
    pub(super) was_running: bool,
    /// The snapshot that it is about.
    pub(super) snapshot: Option<SnapshotName>,
    /// What it takes back, an entry of the undo ledger.
    #[serde(default)]
    pub(super) undoes: Option<OperationId>,
    /// What only this kind of operation has.
    #[serde(default)]
    pub(super) detail: Option<Detail>,
    pub(super) started_at: Timestamp,
}

/// What only one kind of operation has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Detail {
    /// The new name of an env that is renamed.
    Renamed {
        env: EnvName,
        instance: InstanceName,
    },
    /// Files on their way into a guest: `staging` is what is there of them, `target` where they go, and
    /// `made` the uppermost directory that is made for them.
    IntoGuest {
        staging: String,
        target: String,
        #[serde(default)]
        made: Option<String>,
    },
    /// A socket of this host that is lent, by its name in the engine.
    #[serde(rename = "lent")]
    ForwardedSocket { name: String },
    /// Files on their way to the host, as into a guest.
    OntoHost {
        staging: PathBuf,
        target: PathBuf,
        #[serde(default)]
        made: Option<PathBuf>,
    },
}

/// How far an operation is: what it is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum JournalStep {
    /// Something that is taken back if it isn't finished.
    Preparing,
    /// Something that is finished if it was begun.
    Committing,
    /// Only starting again what ran before is left.
    Restarting,
}

/// A journal file that this process owns.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    pub(super) record: OperationRecord,
    pub(super) step: JournalStep,
    /// How often mending it has failed.
    failures: usize,
}

impl OperationRecord {
    pub(super) fn version() -> u32 {
        VERSION
    }

    /// Its instance's name once it is done.
    pub(super) fn name_after(&self) -> &InstanceName {
        match &self.detail {
            Some(Detail::Renamed { instance, .. }) => instance,
            _ => &self.instance,
        }
    }

    /// The instances that it concerns, in the order of their locks.
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
    /// Writes the record of an operation that is about to begin.
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
        // Locked before it gets its name: a name without a lock would read as an orphan.
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
        // The name too has to be on the disk before anything is done.
        File::open(&directory)
            .and_then(|names| names.sync_all())
            .map_err(failed)?;
        Ok(journal)
    }

    /// Whether an operation has a journal, owned or not.
    pub(super) fn exists(home: &Home, id: &OperationId) -> Result<bool> {
        Ok(home
            .directory("journal")?
            .join(format!("{id}.json"))
            .exists())
    }

    /// Says what is about to be done.
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

    /// The operation has ended, one way or the other.
    pub(super) fn close(self) {
        // One that stays is found unlocked by the next recovery, which then sees that all is done.
        let _ = fs::remove_file(&self.path);
        if let Some(Ok(names)) = self.path.parent().map(File::open) {
            let _ = names.sync_all();
        }
    }

    /// The files of all journals, owned or not.
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

    /// Takes a journal over whose owner is gone; `None` while it has one. Others see it as owned for
    /// as long as the value lives.
    pub(super) fn claim(path: &Path) -> Option<Self> {
        Self::adopt(path.to_path_buf(), false)
    }

    /// Journals of one instance. The caller holds its lock, so nobody else owns one.
    pub(super) fn of(home: &Home, instance: &InstanceName) -> Result<Vec<Self>> {
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
            // Somebody may be having a look at it. A loan's owner holds it for as long as that lasts.
            let wait = record.kind != OperationKind::ForwardSocket;
            journals.extend(Self::adopt(path, wait));
        }
        Ok(journals)
    }

    /// Mending it failed for good; returns whether that was often enough to give up.
    pub(super) fn failed(&mut self) -> bool {
        self.failures += 1;
        // Not written means that it is tried once more.
        let _ = self.append(FAILED);
        self.failures >= TRIES
    }

    fn adopt(path: PathBuf, wait: bool) -> Option<Self> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .ok()?;
        let operation = match wait {
            true => FlockOperation::LockExclusive,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        flock(&file, operation).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let Some((first, rest)) = text.split_once('\n') else {
            // Killed before its first line was whole, so before anything was done.
            let _ = fs::remove_file(&path);
            return None;
        };
        let record = match serde_json::from_str::<OperationRecord>(first) {
            Ok(record) if record.version == VERSION => record,
            // Another version of this program wrote it, and will know what to do.
            _ => {
                tracing::warn!(path = %path.display(), "a journal that can't be understood");
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
            failures: rest.lines().filter(|line| *line == FAILED).count(),
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
            version: OperationRecord::version(),
            id: OperationId::random(),
            kind: OperationKind::Restore,
            env: EnvRef {
                project_path: "/p".into(),
                env: "dev".parse().unwrap(),
            },
            engine: EngineId {
                kind: EngineKind::Lxd,
                address: "/socket".into(),
                project: EngineProject::default_one(),
            },
            instance: "p-dev".parse().unwrap(),
            was_running: true,
            snapshot: Some(SnapshotName::initial_state()),
            undoes: None,
            detail: None,
            started_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_what_nobody_owns_is_an_orphan() {
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
    fn a_torn_line_is_passed_over() {
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
    fn the_record_of_another_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let other = OperationRecord {
            version: OperationRecord::version() + 1,
            ..record()
        };
        let path = Journal::begin(&home, other).unwrap().path.clone();
        assert!(orphans(&home).is_empty());
        assert!(path.exists());
    }

    #[test]
    fn a_closed_journal_is_gone() {
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
