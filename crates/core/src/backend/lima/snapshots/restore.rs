//! Restores a snapshot of a machine.
//!
//! The snapshot is copied beside the disk and renamed over it. A marker (`restoring`) exists until all files are
//! replaced; the next operation on the machine completes an interrupted restore. All functions block.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::copy::{copy, ensure_room, sync_directory};
use super::super::machine::directory::Directory;
use super::super::machine::record;
use super::{DISK, EFI, Snapshots, ensure_not_started, remove_file, rename};
use crate::backend::Progress;
use crate::error::Result;
use crate::home::write_json;
use crate::model::SnapshotName;

/// Marker of a restore in progress.
const RESTORE_MARKER: &str = "restoring";

impl Snapshots {
    /// Restores a snapshot of a stopped machine.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it was started meanwhile; `Engine` without enough space; `Io`. The machine is unchanged,
    /// or the restore is completed later.
    pub(crate) fn restore(
        &self,
        machine: &Directory,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()> {
        let disk = self.disk(snapshot)?;
        let replacement = replacement_path(machine, DISK);
        remove_file(&replacement)?;
        ensure_room(machine.path(), &[&disk])?;
        copy(&disk, &replacement, progress)?;
        // From here on the restore will be completed.
        let marker = self.root.join(RESTORE_MARKER);
        // Checked here, because this marker is newer than any write of the machine.
        if let Err(error) =
            write_json(&marker, &snapshot).and_then(|()| ensure_not_started(machine))
        {
            remove_file(&replacement)?;
            remove_file(&marker)?;
            return Err(error);
        }
        self.replace(machine, Some(snapshot))
    }

    /// Completes an interrupted restore after its copy, or cancels it if the machine has run since.
    pub(crate) fn finish_restore(&self, machine: &Directory) -> Result<()> {
        let marker = self.root.join(RESTORE_MARKER);
        let Ok(text) = fs::read(&marker) else {
            return Ok(());
        };
        let replacement = replacement_path(machine, DISK);
        if machine.is_alive() || is_newer(&machine.disk()?, &marker) {
            remove_file(&replacement)?;
            return remove_file(&marker);
        }
        let snapshot = serde_json::from_slice::<SnapshotName>(&text).ok();
        self.replace(machine, snapshot.as_ref())
    }

    /// Replaces the machine's files by the copies, and deletes the marker.
    fn replace(&self, machine: &Directory, snapshot: Option<&SnapshotName>) -> Result<()> {
        let has_source_id = snapshot.and_then(|snapshot| self.has_source_id(snapshot));
        // Recorded before the disk is replaced: if interrupted, the machine at worst gets a new machine id.
        if has_source_id == Some(true) {
            record::set_source_id(machine, true)?;
        }
        let replacement = replacement_path(machine, DISK);
        if replacement.is_file() {
            rename(&replacement, &machine.disk()?)?;
        }
        if let Some(snapshot) = snapshot {
            let (saved, replacement) =
                (self.at(snapshot).join(EFI), replacement_path(machine, EFI));
            if saved.is_file() {
                remove_file(&replacement)?;
                copy(&saved, &replacement, &Progress::none())?;
                rename(&replacement, &machine.file(EFI))?;
            }
        }
        sync_directory(machine.path())?;
        if has_source_id == Some(false) {
            record::set_source_id(machine, false)?;
        }
        remove_file(&self.root.join(RESTORE_MARKER))
    }
}

/// Whether a file is newer than another one.
fn is_newer(file: &Path, other: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    written(file)
        .and_then(|file| Ok(file > written(other)?))
        .unwrap_or(false)
}

/// Suffix of copies that replace files. Not `.tmp`, which Lima deletes when it stops a machine by force.
pub(crate) const RESTORING_SUFFIX: &str = ".restoring";

/// Path of the copy that replaces a file.
fn replacement_path(machine: &Directory, file: &str) -> PathBuf {
    machine.file(&format!("{file}{RESTORING_SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::backend::lima::machine::record::Record;
    use crate::backend::lima::snapshots::tests::test_home;
    use crate::error::ErrorKind;

    #[test]
    fn restore_replaces_disk_and_firmware() {
        let home = test_home();
        home.take("first", None).unwrap();
        assert_eq!(
            home.take("first", None).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        fs::write(home.machine.file(DISK), "two").unwrap();
        fs::write(home.machine.file(EFI), "firmware two").unwrap();
        home.take("second", None).unwrap();
        assert_eq!(home.names(), ["first", "second"]);
        let (first, progress) = ("first".parse().unwrap(), Progress::none());
        home.snapshots
            .restore(&home.machine, &first, &progress)
            .unwrap();
        assert_eq!(
            (home.text(DISK), home.text(EFI)),
            ("one".into(), "firmware one".into())
        );
        home.snapshots.delete(&first).unwrap();
        assert_eq!(home.names(), ["second"]);
        let again = home.snapshots.restore(&home.machine, &first, &progress);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(home.text(DISK), "one");
    }

    #[test]
    fn restore_keeps_machine_id_state_of_disk() {
        let home = test_home();
        let name = "web-dev".parse().unwrap();
        let has_source_id = || {
            Record::read(&home.machine, &name)
                .unwrap()
                .unwrap()
                .has_source_id
        };
        Record::new(&name).write(&home.machine).unwrap();
        let of_a_copy = home.snapshots.clone().with_source_id(true);
        let (begin, later): (SnapshotName, SnapshotName) =
            ("begin".parse().unwrap(), "later".parse().unwrap());
        let (now, progress) = (Timestamp::now(), Progress::none());
        of_a_copy
            .take(&home.machine, &begin, now, None, &progress)
            .unwrap();
        record::set_source_id(&home.machine, false).unwrap();
        home.take("later", None).unwrap();
        for (snapshot, expected) in [(&begin, true), (&later, false), (&begin, true)] {
            home.snapshots
                .restore(&home.machine, snapshot, &progress)
                .unwrap();
            assert_eq!(has_source_id(), expected, "{snapshot}");
        }
        // Also if the restore is completed later.
        fs::write(replacement_path(&home.machine, DISK), "one").unwrap();
        write_json(&home.snapshots.root.join(RESTORE_MARKER), &later).unwrap();
        home.snapshots.finish_restore(&home.machine).unwrap();
        assert!(!has_source_id());
    }

    #[test]
    fn restore_keeps_link_to_disk() {
        let home = test_home();
        fs::rename(home.machine.file(DISK), home.machine.file("diffdisk")).unwrap();
        std::os::unix::fs::symlink("diffdisk", home.machine.file(DISK)).unwrap();
        home.take("first", None).unwrap();
        fs::write(home.machine.file("diffdisk"), "two").unwrap();
        let (first, progress) = ("first".parse().unwrap(), Progress::none());
        home.snapshots
            .restore(&home.machine, &first, &progress)
            .unwrap();
        assert!(home.machine.file(DISK).is_symlink());
        assert_eq!(home.text("diffdisk"), "one");
    }

    #[test]
    fn interrupted_restore_is_rolled_back_or_completed() {
        let home = test_home();
        home.take("first", None).unwrap();
        fs::write(home.machine.file(DISK), "two").unwrap();
        // Interrupted during the copy.
        fs::write(replacement_path(&home.machine, DISK), "o").unwrap();
        home.snapshots.finish_restore(&home.machine).unwrap();
        assert_eq!(home.text(DISK), "two");
        // Interrupted after the copy, before or after the rename.
        for copied in [true, false] {
            fs::write(home.machine.file(DISK), if copied { "two" } else { "one" }).unwrap();
            fs::write(home.machine.file(EFI), "firmware two").unwrap();
            remove_file(&replacement_path(&home.machine, DISK)).unwrap();
            if copied {
                fs::write(replacement_path(&home.machine, DISK), "one").unwrap();
            }
            let first: SnapshotName = "first".parse().unwrap();
            write_json(&home.snapshots.root.join(RESTORE_MARKER), &first).unwrap();
            home.snapshots.finish_restore(&home.machine).unwrap();
            assert_eq!(home.text(DISK), "one");
            assert_eq!(home.text(EFI), "firmware one");
            assert!(!home.snapshots.root.join(RESTORE_MARKER).exists());
        }
    }
}
