//! Snapshots: copies of a stopped machine's disk, beside the machines and on their volume.
//!
//! `LIMA_HOME/.lxc-dev-manager/snapshots/ID/NAME/` holds `disk`, `vz-efi` where there is one, and
//! `snapshot.json`; Lima passes over what begins with a dot. A snapshot is made under another name and
//! gets its own when it is whole, so it is there or it isn't. Going back copies the snapshot beside the
//! disk and renames it over the disk; a note (`restoring`) stands until all files are replaced, and the
//! next who touches the machine finishes what it says. All functions block.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::copy::{copy, expect_room, held, sync_directory};
use super::directory::Directory;
use crate::backend::{InstanceSnapshot, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::home::write_json;
use crate::model::SnapshotName;

/// What describes one.
const META: &str = "snapshot.json";
/// The snapshot's copy of the disk.
const DISK: &str = "disk";
/// The store of the machine's firmware: small, and part of its state.
const EFI: &str = "vz-efi";
/// The note of a restore that has begun.
const RESTORING: &str = "restoring";
/// How names of what isn't whole begin.
const PART: &str = ".part-";

/// The snapshots of one machine.
pub(super) struct Snapshots {
    root: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    version: u32,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl Snapshots {
    /// Those of the machine with this id, below our directory in `LIMA_HOME`.
    pub(super) fn of(ours: &Path, id: Uuid) -> Self {
        Self {
            root: ours.join("snapshots").join(id.to_string()),
        }
    }

    fn at(&self, snapshot: &SnapshotName) -> PathBuf {
        self.root.join(snapshot.as_str())
    }

    /// All of them, oldest first. One that can't be read is left out.
    ///
    /// # Errors
    /// `Io` where they are there and can't be listed.
    pub(super) fn all(&self) -> Result<Vec<InstanceSnapshot>> {
        let mut all: Vec<_> = self
            .metas()?
            .into_iter()
            .map(|(name, meta)| InstanceSnapshot {
                name,
                created_at: meta.created_at,
            })
            .collect();
        all.sort_by(|one, other| (one.created_at, &one.name).cmp(&(other.created_at, &other.name)));
        Ok(all)
    }

    fn metas(&self) -> Result<Vec<(SnapshotName, Meta)>> {
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
            let text = fs::read(entry.path().join(META)).ok()?;
            Some((name, serde_json::from_slice(&text).ok()?))
        });
        Ok(metas.collect())
    }

    /// Whether there is one of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn expect(&self, snapshot: &SnapshotName) -> Result<()> {
        match self.at(snapshot).join(META).is_file() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::NotFound,
                format!("Lima has no snapshot `{snapshot}` of it"),
            )),
        }
    }

    /// The disk of a snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn disk(&self, snapshot: &SnapshotName) -> Result<PathBuf> {
        self.expect(snapshot)?;
        Ok(self.at(snapshot).join(DISK))
    }

    /// Refuses a snapshot that can't be made, before the machine is stopped for it.
    ///
    /// # Errors
    /// `AlreadyExists`; `Engine` where there is no room.
    pub(super) fn expect_possible(
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
    pub(super) fn keep(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
        now: Timestamp,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        self.expect_possible(machine, snapshot)?;
        expect_still(machine)?;
        let part = self.part();
        make_directory(&part)?;
        let kept = self.fill(&part, machine, now, expires_at, progress);
        // One that somebody has started meanwhile was written to.
        let kept = kept.and_then(|()| expect_still(machine));
        let kept = kept.and_then(|()| move_into_place(&part, &self.at(snapshot)));
        if kept.is_err() {
            // What can't be deleted now is swept with the next one.
            let _ = fs::remove_dir_all(&part);
        }
        kept
    }

    fn fill(
        &self,
        part: &Path,
        machine: &Directory,
        now: Timestamp,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        copy(&machine.disk()?, &part.join(DISK), progress)?;
        let efi = machine.file(EFI);
        if efi.is_file() {
            copy(&efi, &part.join(EFI), &Progress::none())?;
        }
        let meta = Meta {
            version: 1,
            created_at: now,
            expires_at,
        };
        write_json(&part.join(META), &meta)?;
        sync_directory(part)
    }

    /// Sets a stopped machine back.
    ///
    /// # Errors
    /// `NotFound`; `Engine` where there is no room, `Io`: the machine is as before then, or the restore is
    /// finished later.
    pub(super) fn put_back(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()> {
        let disk = self.disk(snapshot)?;
        let fresh = beside(machine, DISK);
        remove_file(&fresh)?;
        expect_room(machine.path(), &[&disk])?;
        copy(&disk, &fresh, progress)?;
        // From here on it is finished, whoever does it.
        let noted =
            expect_still(machine).and_then(|()| write_json(&self.root.join(RESTORING), &snapshot));
        if noted.is_err() {
            remove_file(&fresh)?;
        }
        noted?;
        self.finish_restore(machine)
    }

    /// Finishes a restore that was cut off after its copy. One whose machine has run since is given up: what
    /// was done in it counts.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn finish_restore(&self, machine: &Directory) -> Result<()> {
        let note = self.root.join(RESTORING);
        let Ok(text) = fs::read(&note) else {
            return Ok(());
        };
        let fresh = beside(machine, DISK);
        if machine.is_alive() || is_newer(&machine.disk()?, &note) {
            remove_file(&fresh)?;
            return remove_file(&note);
        }
        if fresh.is_file() {
            rename(&fresh, &machine.disk()?)?;
        }
        if let Ok(snapshot) = serde_json::from_slice::<SnapshotName>(&text) {
            let (kept, fresh) = (self.at(&snapshot).join(EFI), beside(machine, EFI));
            if kept.is_file() {
                remove_file(&fresh)?;
                copy(&kept, &fresh, &Progress::none())?;
                rename(&fresh, &machine.file(EFI))?;
            }
        }
        sync_directory(machine.path())?;
        remove_file(&note)
    }

    /// Deletes one.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(super) fn delete(&self, snapshot: &SnapshotName) -> Result<()> {
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
    pub(super) fn delete_all(&self) -> Result<()> {
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
    pub(super) fn held_by(&self, snapshot: &SnapshotName) -> Result<u64> {
        Ok(held(&self.disk(snapshot)?))
    }

    /// Deletes those whose time is over.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn expire(&self, now: Timestamp) -> Result<()> {
        let over = self.metas()?.into_iter();
        let mut over = over.filter(|(_, meta)| meta.expires_at.is_some_and(|until| until <= now));
        over.try_for_each(|(name, _)| self.delete(&name))
    }

    /// Deletes what never became a snapshot, or is none any more.
    pub(super) fn sweep(&self) {
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

/// # Errors
/// `Conflict` where a process of the machine lives, which may write to its disk.
fn expect_still(machine: &Directory) -> Result<()> {
    match machine.is_alive() {
        false => Ok(()),
        true => {
            let message = format!("{} was started meanwhile", machine.path().display());
            Err(Error::new(ErrorKind::Conflict, message).with_hint("stop it, and try again"))
        }
    }
}

/// Whether a file was written after another one.
fn is_newer(file: &Path, other: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    written(file)
        .and_then(|file| Ok(file > written(other)?))
        .unwrap_or(false)
}

/// Where a file's successor is made. Lima leaves names with this end out of its copies.
fn beside(machine: &Directory, file: &str) -> PathBuf {
    machine.file(&format!("{file}.restoring.tmp"))
}

/// Makes a directory of ours, and those above it.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| Error::io(format!("cannot make {}", path.display()), error))
}

fn move_into_place(part: &Path, whole: &Path) -> Result<()> {
    rename(part, whole)?;
    sync_directory(whole.parent().unwrap_or(Path::new("/")))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = fs::rename(from, to);
    renamed.map_err(|error| Error::io(format!("cannot rename {}", from.display()), error))
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let message = format!("cannot delete {}", path.display());
            Err(Error::io(message, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstanceName;

    struct Place {
        _home: tempfile::TempDir,
        machine: Directory,
        snapshots: Snapshots,
    }

    fn place() -> Place {
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
        fn keep(&self, name: &str, expires_at: Option<Timestamp>) -> Result<()> {
            let (now, progress) = (Timestamp::now(), Progress::none());
            let name = name.parse().unwrap();
            self.snapshots
                .keep(&self.machine, &name, now, expires_at, &progress)
        }

        fn names(&self) -> Vec<String> {
            let all = self.snapshots.all().unwrap();
            all.iter().map(|one| one.name.to_string()).collect()
        }

        fn text(&self, file: &str) -> String {
            fs::read_to_string(self.machine.file(file)).unwrap()
        }
    }

    #[test]
    fn a_machine_goes_back_to_what_was_kept() {
        let place = place();
        place.keep("first", None).unwrap();
        assert_eq!(
            place.keep("first", None).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        fs::write(place.machine.file(DISK), "two").unwrap();
        fs::write(place.machine.file(EFI), "firmware two").unwrap();
        place.keep("second", None).unwrap();
        assert_eq!(place.names(), ["first", "second"]);
        let (first, progress) = ("first".parse().unwrap(), Progress::none());
        place
            .snapshots
            .put_back(&place.machine, &first, &progress)
            .unwrap();
        assert_eq!(
            (place.text(DISK), place.text(EFI)),
            ("one".into(), "firmware one".into())
        );
        place.snapshots.delete(&first).unwrap();
        assert_eq!(place.names(), ["second"]);
        let again = place.snapshots.put_back(&place.machine, &first, &progress);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(place.text(DISK), "one");
    }

    #[test]
    fn a_link_to_the_disk_stays_one() {
        let place = place();
        fs::rename(place.machine.file(DISK), place.machine.file("diffdisk")).unwrap();
        std::os::unix::fs::symlink("diffdisk", place.machine.file(DISK)).unwrap();
        place.keep("first", None).unwrap();
        fs::write(place.machine.file("diffdisk"), "two").unwrap();
        let (first, progress) = ("first".parse().unwrap(), Progress::none());
        place
            .snapshots
            .put_back(&place.machine, &first, &progress)
            .unwrap();
        assert!(place.machine.file(DISK).is_symlink());
        assert_eq!(place.text("diffdisk"), "one");
    }

    #[test]
    fn a_restore_that_was_cut_off_is_as_before_or_finished() {
        let place = place();
        place.keep("first", None).unwrap();
        fs::write(place.machine.file(DISK), "two").unwrap();
        // Cut off in its copy: nothing has happened.
        fs::write(beside(&place.machine, DISK), "o").unwrap();
        place.snapshots.finish_restore(&place.machine).unwrap();
        assert_eq!(place.text(DISK), "two");
        // Cut off after it, before or after the rename.
        for copied in [true, false] {
            fs::write(place.machine.file(DISK), if copied { "two" } else { "one" }).unwrap();
            fs::write(place.machine.file(EFI), "firmware two").unwrap();
            remove_file(&beside(&place.machine, DISK)).unwrap();
            if copied {
                fs::write(beside(&place.machine, DISK), "one").unwrap();
            }
            let first: SnapshotName = "first".parse().unwrap();
            write_json(&place.snapshots.root.join(RESTORING), &first).unwrap();
            place.snapshots.finish_restore(&place.machine).unwrap();
            assert_eq!(place.text(DISK), "one");
            assert_eq!(place.text(EFI), "firmware one");
            assert!(!place.snapshots.root.join(RESTORING).exists());
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
}
