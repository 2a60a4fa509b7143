//! Snapshots: copies of a machine's disk while nobody writes to it, beside the machines and on their volume.
//!
//! `LIMA_HOME/.lxc-dev-manager/snapshots/ID/NAME/` holds `disk`, `vz-efi` where there is one, and
//! `snapshot.json`; Lima passes over what begins with a dot. A snapshot is made under another name and
//! gets its own when it is whole, so it is there or it isn't. All functions block.

pub(crate) mod freeze;
pub(crate) mod restore;
pub(crate) mod take;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::lima::copy::{copy, expect_room, held, sync_directory};
use crate::backend::lima::json;
use crate::backend::lima::machine::directory::Directory;
use crate::backend::{InstanceSnapshot, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::home::write_json;
use crate::model::SnapshotName;

/// What describes one.
const META: &str = "snapshot.json";
/// The snapshot's copy of the disk.
pub(crate) const DISK: &str = "disk";
/// The store of the machine's firmware: small, and part of its state.
pub(crate) const EFI: &str = "vz-efi";
/// How names of what isn't whole begin.
const PART: &str = ".part-";

/// The snapshots of one machine.
#[derive(Clone)]
pub(crate) struct Snapshots {
    pub(crate) root: PathBuf,
    /// Their machine still has another one's machine id.
    is_new: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    version: u32,
    /// What its machine was called then.
    #[serde(default)]
    machine: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// What is kept has another machine's id. Nobody knows it of older ones.
    #[serde(default)]
    is_new: Option<bool>,
}

impl Snapshots {
    /// Those of the machine with this id, below our directory in `LIMA_HOME`.
    pub(crate) fn of(ours: &Path, id: Uuid) -> Self {
        Self {
            root: ours.join("snapshots").join(id.to_string()),
            is_new: false,
        }
    }

    /// The same, of a machine that is a copy and still has its source's machine id, or isn't.
    pub(crate) fn of_new(self, is_new: bool) -> Self {
        Self { is_new, ..self }
    }

    pub(crate) fn at(&self, snapshot: &SnapshotName) -> PathBuf {
        self.root.join(snapshot.as_str())
    }

    /// All of them, oldest first. One whose record can't be read is broken, and as old as its directory.
    ///
    /// # Errors
    /// `Io` where they are there and can't be listed.
    pub(crate) fn all(&self) -> Result<Vec<InstanceSnapshot>> {
        let listed = self
            .metas()?
            .into_iter()
            .map(|(name, meta)| InstanceSnapshot {
                is_broken: meta.is_err(),
                created_at: meta.map_or_else(|_| self.begun(&name), |meta| meta.created_at),
                name,
            });
        let mut all: Vec<_> = listed.collect();
        all.sort_by(|one, other| (one.created_at, &one.name).cmp(&(other.created_at, &other.name)));
        Ok(all)
    }

    /// When a snapshot's directory was made, nearly.
    fn begun(&self, snapshot: &SnapshotName) -> Timestamp {
        let written = fs::metadata(self.at(snapshot)).and_then(|found| found.modified());
        let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
        written.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn metas(&self) -> Result<Vec<(SnapshotName, Result<Meta>)>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let message = format!("cannot read {}", self.root.display());
                return Err(Error::io(message, error));
            }
        };
        let metas = entries.flatten().filter_map(|entry| {
            let name = SnapshotName::parse(entry.file_name().to_str()?).ok()?;
            let path = entry.path().join(META);
            // It gets its name when it is whole.
            path.symlink_metadata().ok()?;
            Some((name, json::read(&path)))
        });
        Ok(metas.collect())
    }

    /// Whether there is one of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn expect(&self, snapshot: &SnapshotName) -> Result<()> {
        match self.at(snapshot).join(META).symlink_metadata().is_ok() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::NotFound,
                format!("Lima has no snapshot `{snapshot}` of it"),
            )),
        }
    }

    /// The disk of a snapshot that can be used.
    ///
    /// # Errors
    /// `NotFound`; `Config` and `Unsupported` for a broken one.
    pub(crate) fn disk(&self, snapshot: &SnapshotName) -> Result<PathBuf> {
        self.meta(snapshot)?;
        Ok(self.at(snapshot).join(DISK))
    }

    /// Whether what it keeps has another machine's id, where that is known.
    pub(crate) fn has_anothers_id(&self, snapshot: &SnapshotName) -> Option<bool> {
        self.meta(snapshot).ok()?.is_new
    }

    fn meta(&self, snapshot: &SnapshotName) -> Result<Meta> {
        self.expect(snapshot)?;
        let meta: Result<Meta> = json::read(&self.at(snapshot).join(META));
        meta.map_err(|error| {
            let error = error.context(format!("the snapshot `{snapshot}` is broken"));
            match error.kind() {
                ErrorKind::Config => error.with_hint("it can be deleted, and nothing else"),
                _ => error,
            }
        })
    }

    /// Refuses a snapshot that can't be made, before the machine is stopped for it.
    ///
    /// # Errors
    /// `AlreadyExists`; `Engine` where there is no room.
    pub(crate) fn expect_possible(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
    ) -> Result<()> {
        self.sweep();
        if self.expect(snapshot).is_ok() {
            let message = format!("there is a snapshot `{snapshot}` already");
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        make_directory(&self.root)?;
        expect_room(&self.root, &[&machine.disk()?])
    }

    /// Keeps the state of a stopped machine.
    ///
    /// # Errors
    /// Those of [`Snapshots::expect_possible`]; `Io`, with nothing left of it.
    pub(crate) fn keep(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
        now: Timestamp,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        self.expect_possible(machine, snapshot)?;
        let begin = || self.begin(machine, snapshot, now, expires_at, progress);
        while_stopped(machine, begin)?.finish()
    }

    /// Copies what a snapshot is made of. Who calls sees to it that nothing writes to the disk meanwhile.
    ///
    /// # Errors
    /// `Io`, with nothing left of it.
    pub(crate) fn begin(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
        now: Timestamp,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<Part> {
        let part = Part {
            path: self.part(),
            whole: self.at(snapshot),
        };
        make_directory(&part.path)?;
        copy(&machine.disk()?, &part.path.join(DISK), progress)?;
        let efi = machine.file(EFI);
        if efi.is_file() {
            copy(&efi, &part.path.join(EFI), &Progress::none())?;
        }
        let meta = Meta {
            version: json::VERSION,
            machine: machine.name(),
            created_at: now,
            expires_at,
            is_new: Some(self.is_new),
        };
        write_json(&part.path.join(META), &meta)?;
        sync_directory(&part.path)?;
        Ok(part)
    }

    /// Deletes one.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(crate) fn delete(&self, snapshot: &SnapshotName) -> Result<()> {
        self.expect(snapshot)?;
        let part = self.part();
        rename(&self.at(snapshot), &part)?;
        sync_directory(&self.root)?;
        // It is gone by its name; what is left of it is swept.
        let _ = fs::remove_dir_all(&part);
        Ok(())
    }

    /// Deletes them all.
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

    /// Bytes that one of them holds.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn held_by(&self, snapshot: &SnapshotName) -> Result<u64> {
        self.expect(snapshot)?;
        Ok(held(&self.at(snapshot).join(DISK)))
    }

    /// What their machine was called last, how many there are, and how many bytes they hold.
    pub(crate) fn summary(&self) -> (Option<String>, usize, u64) {
        let all = self.metas().unwrap_or_default();
        let read = all.iter().filter_map(|(_, meta)| meta.as_ref().ok());
        let latest = read.max_by_key(|meta| meta.created_at);
        let machine = latest.map(|meta| meta.machine.clone());
        let machine = machine.filter(|name| !name.is_empty());
        let disks = all.iter().map(|(name, _)| held(&self.at(name).join(DISK)));
        (machine, all.len(), disks.sum())
    }

    /// Deletes those whose time is over.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn expire(&self, now: Timestamp) -> Result<()> {
        let over = self.metas()?.into_iter();
        let is_over = |meta: &Meta| meta.expires_at.is_some_and(|until| until <= now);
        let mut over = over.filter(|(_, meta)| meta.as_ref().is_ok_and(is_over));
        over.try_for_each(|(name, _)| self.delete(&name))
    }

    /// Deletes what never became a snapshot, or is none any more.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PART) {
                // The next one tries again.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn part(&self) -> PathBuf {
        self.root.join(format!("{PART}{}", Uuid::new_v4()))
    }
}

/// A snapshot that has no name yet. Without one it goes.
pub(crate) struct Part {
    path: PathBuf,
    whole: PathBuf,
}

impl Part {
    /// Gives it its name.
    ///
    /// # Errors
    /// `Io`, with nothing left of it.
    pub(crate) fn finish(self) -> Result<()> {
        rename(&self.path, &self.whole)?;
        sync_directory(self.whole.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // With a name there is nothing here any more. What can't be deleted now is swept with the next one.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Copies what nobody may write to meanwhile.
///
/// # Errors
/// `Conflict` where the machine has run meanwhile; those of `work`.
pub(crate) fn while_stopped<T>(machine: &Directory, work: impl FnOnce() -> Result<T>) -> Result<T> {
    expect_still(machine)?;
    let before = machine.disk_written()?;
    let done = work()?;
    expect_still(machine)?;
    // It may have been stopped again.
    match machine.disk_written()? == before {
        true => Ok(done),
        false => Err(was_started(machine)),
    }
}

/// # Errors
/// `Conflict` where a process of the machine lives, which may write to its disk.
pub(crate) fn expect_still(machine: &Directory) -> Result<()> {
    match machine.is_alive() {
        false => Ok(()),
        true => Err(was_started(machine)),
    }
}

fn was_started(machine: &Directory) -> Error {
    let message = format!("{} was started meanwhile", machine.path().display());
    Error::new(ErrorKind::Conflict, message).with_hint("stop it, and try again")
}

/// Makes a directory of ours, and those above it.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| Error::io(format!("cannot make {}", path.display()), error))
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
    pub(crate) struct Place {
        _home: tempfile::TempDir,
        pub(crate) machine: Directory,
        pub(crate) snapshots: Snapshots,
    }

    pub(crate) fn place() -> Place {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "web-dev".parse().unwrap();
        fs::create_dir(home.path().join("web-dev")).unwrap();
        let machine = Directory::new(home.path(), &name);
        fs::write(machine.file("lima.yaml"), "cpus: 1\n").unwrap();
        fs::write(machine.file(DISK), "one").unwrap();
        fs::write(machine.file(EFI), "firmware one").unwrap();
        let snapshots = Snapshots::of(&home.path().join(".ours"), Uuid::new_v4());
        Place {
            _home: home,
            machine,
            snapshots,
        }
    }

    impl Place {
        pub(crate) fn keep(&self, name: &str, expires_at: Option<Timestamp>) -> Result<()> {
            let (now, progress) = (Timestamp::now(), Progress::none());
            let name = name.parse().unwrap();
            self.snapshots
                .keep(&self.machine, &name, now, expires_at, &progress)
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
    fn what_is_not_whole_is_no_snapshot_and_is_swept() {
        let place = place();
        let part = place.snapshots.part();
        make_directory(&part).unwrap();
        fs::write(part.join(DISK), "half").unwrap();
        make_directory(&place.snapshots.at(&"odd".parse().unwrap())).unwrap();
        assert!(place.names().is_empty());
        place.keep("whole", None).unwrap();
        assert!(!part.exists());
    }

    #[test]
    fn what_is_over_goes() {
        let place = place();
        let now = Timestamp::now();
        place.keep("kept", None).unwrap();
        place.keep("over", Some(now)).unwrap();
        place.snapshots.expire(now).unwrap();
        assert_eq!(place.names(), ["kept"]);
        assert!(place.snapshots.held_by(&"kept".parse().unwrap()).is_ok());
        place.snapshots.delete_all().unwrap();
        assert!(place.names().is_empty());
    }

    #[test]
    fn one_whose_record_cannot_be_read_is_broken_and_keeps_its_name() {
        let place = place();
        for (name, text) in [("odd", "{"), ("newer", "{\"version\": 2}")] {
            place.keep(name, None).unwrap();
            let name: SnapshotName = name.parse().unwrap();
            let path = place.snapshots.at(&name).join(META);
            fs::write(&path, text).unwrap();
            let listed = place.snapshots.all().unwrap();
            assert!(listed.len() == 1 && listed[0].is_broken, "{listed:?}");
            let taken = place.keep(name.as_str(), None).unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
            let progress = Progress::none();
            let refused = place.snapshots.put_back(&place.machine, &name, &progress);
            let refused = refused.unwrap_err().report();
            assert!(refused.message.contains("is broken"), "{refused:?}");
            let causes = format!("{refused:?}");
            assert!(causes.contains(META), "{causes}");
            place.snapshots.delete(&name).unwrap();
            assert!(place.names().is_empty());
        }
    }
}
