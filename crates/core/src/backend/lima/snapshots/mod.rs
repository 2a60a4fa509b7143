//! Snapshots: copies of a machine's disk while nothing writes to it, on the volume of the machines.
//!
//! `LIMA_HOME/.lxc-dev-manager/snapshots/ID/NAME/` contains `disk`, `vz-efi` if the machine has one, and
//! `snapshot.json`. A snapshot is created under a temporary name and renamed when complete. All functions block.

pub(crate) mod freeze;
pub(crate) mod restore;
pub(crate) mod take;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::copy::{allocated, copy, ensure_room, sync_directory};
use super::json;
use super::machine::directory::Directory;
use crate::backend::{InstanceSnapshot, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::home::{create_private_directory, write_json};
use crate::model::SnapshotName;

const METADATA_FILE: &str = "snapshot.json";
/// The snapshot's copy of the disk.
pub(crate) const DISK: &str = "disk";
/// The firmware's variables.
pub(crate) const EFI: &str = "vz-efi";
/// Name prefix of incomplete and deleted snapshots.
const PARTIAL_PREFIX: &str = ".part-";

/// The snapshots of one machine.
#[derive(Clone)]
pub(crate) struct Snapshots {
    pub(crate) root: PathBuf,
    /// The machine is a copy and still has the machine id of its source.
    has_source_id: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotMetadata {
    version: u32,
    /// Name of the machine at that time.
    #[serde(default)]
    machine: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// The disk has the machine id of another machine; unknown for older snapshots.
    #[serde(default, rename = "is_new")]
    has_source_id: Option<bool>,
}

impl Snapshots {
    /// The snapshots of the machine with this id, in the state directory.
    pub(crate) fn new(state_dir: &Path, id: Uuid) -> Self {
        Self {
            root: state_dir.join("snapshots").join(id.to_string()),
            has_source_id: false,
        }
    }

    /// Sets whether the machine still has the machine id of its source.
    pub(crate) fn with_source_id(self, has_source_id: bool) -> Self {
        Self {
            has_source_id,
            ..self
        }
    }

    pub(crate) fn at(&self, snapshot: &SnapshotName) -> PathBuf {
        self.root.join(snapshot.as_str())
    }

    /// Lists all snapshots, oldest first. One with unreadable metadata is broken, and as old as its directory.
    ///
    /// # Errors
    /// `Io` if they exist and cannot be listed.
    pub(crate) fn all(&self) -> Result<Vec<InstanceSnapshot>> {
        let listed = self
            .read_all()?
            .into_iter()
            .map(|(name, metadata)| InstanceSnapshot {
                is_broken: metadata.is_err(),
                created_at: metadata.map_or_else(
                    |_| self.created_about(&name),
                    |metadata| metadata.created_at,
                ),
                name,
            });
        let mut all: Vec<_> = listed.collect();
        all.sort_by(|one, other| (one.created_at, &one.name).cmp(&(other.created_at, &other.name)));
        Ok(all)
    }

    /// Modification time of a snapshot's directory.
    fn created_about(&self, snapshot: &SnapshotName) -> Timestamp {
        let written = fs::metadata(self.at(snapshot)).and_then(|found| found.modified());
        let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
        written.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn read_all(&self) -> Result<Vec<(SnapshotName, Result<SnapshotMetadata>)>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let message = format!("cannot read {}", self.root.display());
                return Err(Error::io(message, error));
            }
        };
        let metadata = entries.flatten().filter_map(|entry| {
            let name = SnapshotName::parse(entry.file_name().to_str()?).ok()?;
            let path = entry.path().join(METADATA_FILE);
            // Without metadata it is no snapshot.
            path.symlink_metadata().ok()?;
            Some((name, json::read(&path)))
        });
        Ok(metadata.collect())
    }

    /// Checks that a snapshot exists.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn ensure_exists(&self, snapshot: &SnapshotName) -> Result<()> {
        if self
            .at(snapshot)
            .join(METADATA_FILE)
            .symlink_metadata()
            .is_ok()
        {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no snapshot `{snapshot}`"),
            ))
        }
    }

    /// Path of a usable snapshot's disk.
    ///
    /// # Errors
    /// `NotFound`; `Config` and `Unsupported` for a broken one.
    pub(crate) fn disk(&self, snapshot: &SnapshotName) -> Result<PathBuf> {
        self.metadata(snapshot)?;
        Ok(self.at(snapshot).join(DISK))
    }

    /// Whether its disk has the machine id of another machine, if known.
    pub(crate) fn has_source_id(&self, snapshot: &SnapshotName) -> Option<bool> {
        self.metadata(snapshot).ok()?.has_source_id
    }

    fn metadata(&self, snapshot: &SnapshotName) -> Result<SnapshotMetadata> {
        self.ensure_exists(snapshot)?;
        let metadata: Result<SnapshotMetadata> = json::read(&self.at(snapshot).join(METADATA_FILE));
        metadata.map_err(|error| {
            let error = error.context(format!("snapshot `{snapshot}` is broken"));
            match error.kind() {
                ErrorKind::Config => error.with_hint("delete the snapshot"),
                _ => error,
            }
        })
    }

    /// Checks whether a snapshot can be created, before the machine is stopped for it.
    ///
    /// # Errors
    /// `AlreadyExists`; `Engine` without enough space.
    pub(crate) fn ensure_possible(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
    ) -> Result<()> {
        self.sweep();
        if self.ensure_exists(snapshot).is_ok() {
            let message = format!("snapshot `{snapshot}` already exists");
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        create_private_directory(&self.root)?;
        ensure_room(&self.root, &[&machine.disk()?])
    }

    /// Creates a snapshot of a stopped machine.
    ///
    /// # Errors
    /// As for [`Snapshots::ensure_possible`]; `Io`, with nothing left behind.
    pub(crate) fn take(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
        now: Timestamp,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        self.ensure_possible(machine, snapshot)?;
        let begin = || self.begin(machine, snapshot, now, expires_at, progress);
        while_stopped(machine, begin)?.finish()
    }

    /// Copies the state of a machine. The caller ensures that nothing writes to the disk meanwhile.
    ///
    /// # Errors
    /// `Io`, with nothing left behind.
    pub(crate) fn begin(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
        now: Timestamp,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<PartialSnapshot> {
        let part = PartialSnapshot {
            path: self.partial_path(),
            final_path: self.at(snapshot),
        };
        create_private_directory(&part.path)?;
        copy(&machine.disk()?, &part.path.join(DISK), progress)?;
        let efi = machine.file(EFI);
        if efi.is_file() {
            copy(&efi, &part.path.join(EFI), &Progress::none())?;
        }
        let metadata = SnapshotMetadata {
            version: json::VERSION,
            machine: machine.name(),
            created_at: now,
            expires_at,
            has_source_id: Some(self.has_source_id),
        };
        write_json(&part.path.join(METADATA_FILE), &metadata)?;
        sync_directory(&part.path)?;
        Ok(part)
    }

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(crate) fn delete(&self, snapshot: &SnapshotName) -> Result<()> {
        self.ensure_exists(snapshot)?;
        let part = self.partial_path();
        rename(&self.at(snapshot), &part)?;
        sync_directory(&self.root)?;
        // Already renamed; the rest is swept later.
        let _ = fs::remove_dir_all(&part);
        Ok(())
    }

    /// Deletes all snapshots.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn delete_all(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let message = format!("cannot delete {}", self.root.display());
                Err(Error::io(message, error))
            }
            _ => Ok(()),
        }
    }

    /// Allocated bytes of a snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn held_by(&self, snapshot: &SnapshotName) -> Result<u64> {
        self.ensure_exists(snapshot)?;
        Ok(allocated(&self.at(snapshot).join(DISK)))
    }

    /// Last known name of the machine, number of snapshots, and their allocated bytes.
    pub(crate) fn summary(&self) -> (Option<String>, usize, u64) {
        let all = self.read_all().unwrap_or_default();
        let read = all
            .iter()
            .filter_map(|(_, metadata)| metadata.as_ref().ok());
        let latest = read.max_by_key(|metadata| metadata.created_at);
        let machine = latest.map(|metadata| metadata.machine.clone());
        let machine = machine.filter(|name| !name.is_empty());
        let disks = all
            .iter()
            .map(|(name, _)| allocated(&self.at(name).join(DISK)));
        (machine, all.len(), disks.sum())
    }

    /// Deletes expired snapshots.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn expire(&self, now: Timestamp) -> Result<()> {
        let over = self.read_all()?.into_iter();
        let is_over =
            |metadata: &SnapshotMetadata| metadata.expires_at.is_some_and(|until| until <= now);
        let mut over = over.filter(|(_, metadata)| metadata.as_ref().is_ok_and(is_over));
        over.try_for_each(|(name, _)| self.delete(&name))
    }

    /// Deletes incomplete and deleted snapshots.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(PARTIAL_PREFIX)
            {
                // Retried by the next sweep.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn partial_path(&self) -> PathBuf {
        self.root
            .join(format!("{PARTIAL_PREFIX}{}", Uuid::new_v4()))
    }
}

/// A snapshot without a name; deleted when dropped.
pub(crate) struct PartialSnapshot {
    path: PathBuf,
    final_path: PathBuf,
}

impl PartialSnapshot {
    /// Gives the snapshot its name.
    ///
    /// # Errors
    /// `Io`, with nothing left behind.
    pub(crate) fn finish(self) -> Result<()> {
        rename(&self.path, &self.final_path)?;
        sync_directory(self.final_path.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for PartialSnapshot {
    fn drop(&mut self) {
        // Already renamed if finished; anything left is swept later.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Runs `work` and checks that the machine has not run meanwhile.
///
/// # Errors
/// `Conflict` if it has; those of `work`.
pub(crate) fn while_stopped<T>(machine: &Directory, work: impl FnOnce() -> Result<T>) -> Result<T> {
    ensure_not_started(machine)?;
    let before = machine.disk_written()?;
    let done = work()?;
    ensure_not_started(machine)?;
    // It may have been started and stopped.
    if machine.disk_written()? == before {
        Ok(done)
    } else {
        Err(started_meanwhile(machine))
    }
}

/// # Errors
/// `Conflict` if a process of the machine is alive, which may write to its disk.
pub(crate) fn ensure_not_started(machine: &Directory) -> Result<()> {
    if machine.is_alive() {
        Err(started_meanwhile(machine))
    } else {
        Ok(())
    }
}

fn started_meanwhile(machine: &Directory) -> Error {
    let message = format!(
        "{} was started during the operation",
        machine.path().display()
    );
    Error::new(ErrorKind::Conflict, message).with_hint("stop it, then try again")
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = fs::rename(from, to);
    renamed.map_err(|error| Error::io(format!("cannot rename {}", from.display()), error))
}

pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let message = format!("cannot delete {}", path.display());
            Err(Error::io(message, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::InstanceName;

    /// A machine with a disk, and its snapshots.
    pub(crate) struct TestHome {
        _home: tempfile::TempDir,
        pub(crate) machine: Directory,
        pub(crate) snapshots: Snapshots,
    }

    pub(crate) fn test_home() -> TestHome {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "web-dev".parse().unwrap();
        fs::create_dir(home.path().join("web-dev")).unwrap();
        let machine = Directory::new(home.path(), &name);
        fs::write(machine.file("lima.yaml"), "cpus: 1\n").unwrap();
        fs::write(machine.file(DISK), "one").unwrap();
        fs::write(machine.file(EFI), "firmware one").unwrap();
        let snapshots = Snapshots::new(&home.path().join(".state"), Uuid::new_v4());
        TestHome {
            _home: home,
            machine,
            snapshots,
        }
    }

    impl TestHome {
        pub(crate) fn take(&self, name: &str, expires_at: Option<Timestamp>) -> Result<()> {
            let (now, progress) = (Timestamp::now(), Progress::none());
            let name = name.parse().unwrap();
            self.snapshots
                .take(&self.machine, &name, now, expires_at, &progress)
        }

        pub(crate) fn names(&self) -> Vec<String> {
            let all = self.snapshots.all().unwrap();
            all.iter().map(|one| one.name.to_string()).collect()
        }

        pub(crate) fn text(&self, file: &str) -> String {
            fs::read_to_string(self.machine.file(file)).unwrap()
        }
    }

    #[test]
    fn incomplete_snapshots_are_not_listed_and_swept() {
        let home = test_home();
        let part = home.snapshots.partial_path();
        create_private_directory(&part).unwrap();
        fs::write(part.join(DISK), "half").unwrap();
        create_private_directory(&home.snapshots.at(&"odd".parse().unwrap())).unwrap();
        assert!(home.names().is_empty());
        home.take("complete", None).unwrap();
        assert!(!part.exists());
    }

    #[test]
    fn expired_snapshots_are_deleted() {
        let home = test_home();
        let now = Timestamp::now();
        home.take("permanent", None).unwrap();
        home.take("over", Some(now)).unwrap();
        home.snapshots.expire(now).unwrap();
        assert_eq!(home.names(), ["permanent"]);
        assert!(
            home.snapshots
                .held_by(&"permanent".parse().unwrap())
                .is_ok()
        );
        home.snapshots.delete_all().unwrap();
        assert!(home.names().is_empty());
    }

    #[test]
    fn snapshot_with_unreadable_metadata_is_broken_and_keeps_its_name() {
        let home = test_home();
        for (name, text) in [("odd", "{"), ("newer", "{\"version\": 2}")] {
            home.take(name, None).unwrap();
            let name: SnapshotName = name.parse().unwrap();
            let path = home.snapshots.at(&name).join(METADATA_FILE);
            fs::write(&path, text).unwrap();
            let listed = home.snapshots.all().unwrap();
            assert!(listed.len() == 1 && listed[0].is_broken, "{listed:?}");
            let taken = home.take(name.as_str(), None).unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
            let progress = Progress::none();
            let refused = home.snapshots.restore(&home.machine, &name, &progress);
            let refused = refused.unwrap_err().report();
            assert!(refused.message.contains("is broken"), "{refused:?}");
            let causes = format!("{refused:?}");
            assert!(causes.contains(METADATA_FILE), "{causes}");
            home.snapshots.delete(&name).unwrap();
            assert!(home.names().is_empty());
        }
    }
}
