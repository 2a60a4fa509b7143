//! Setting a machine back to one of its snapshots.
//!
//! The snapshot is copied beside the disk and renamed over it; a note (`restoring`) stands until all files are
//! replaced, and the next who touches the machine finishes what it says. All functions block.

use std::fs;
use std::path::{Path, PathBuf};

use crate::backend::Progress;
use crate::backend::lima::copy::{copy, expect_room, sync_directory};
use crate::backend::lima::machine::directory::Directory;
use crate::backend::lima::machine::record;
use crate::backend::lima::snapshots::{DISK, EFI, Snapshots, expect_still, remove_file, rename};
use crate::error::Result;
use crate::home::write_json;
use crate::model::SnapshotName;

/// The note of a restore that has begun.
const RESTORING: &str = "restoring";

impl Snapshots {
    /// Sets a stopped machine back.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where somebody has started it meanwhile; `Engine` where there is no room, `Io`: the
    /// machine is as before then, or the restore is finished later.
    pub(crate) fn put_back(
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
        let note = self.root.join(RESTORING);
        // Its own note is younger than all that was done in the machine: that rule is for those found later.
        if let Err(error) = write_json(&note, &snapshot).and_then(|()| expect_still(machine)) {
            remove_file(&fresh)?;
            remove_file(&note)?;
            return Err(error);
        }
        self.replace(machine, Some(snapshot))
    }

    /// Finishes a restore that was cut off after its copy. One whose machine has run since is given up: what
    /// was done in it counts.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn finish_restore(&self, machine: &Directory) -> Result<()> {
        let note = self.root.join(RESTORING);
        let Ok(text) = fs::read(&note) else {
            return Ok(());
        };
        let fresh = beside(machine, DISK);
        if machine.is_alive() || is_newer(&machine.disk()?, &note) {
            remove_file(&fresh)?;
            return remove_file(&note);
        }
        let snapshot = serde_json::from_slice::<SnapshotName>(&text).ok();
        self.replace(machine, snapshot.as_ref())
    }

    /// Puts what was copied in the place of what the machine has, and takes the note away.
    fn replace(&self, machine: &Directory, snapshot: Option<&SnapshotName>) -> Result<()> {
        let is_new = snapshot.and_then(|snapshot| self.has_anothers_id(snapshot));
        // A disk with another machine's id is never without that note, wherever this is cut off: at worst it gets a new one.
        if is_new == Some(true) {
            record::note_new(machine, true)?;
        }
        let fresh = beside(machine, DISK);
        if fresh.is_file() {
            rename(&fresh, &machine.disk()?)?;
        }
        if let Some(snapshot) = snapshot {
            let (kept, fresh) = (self.at(snapshot).join(EFI), beside(machine, EFI));
            if kept.is_file() {
                remove_file(&fresh)?;
                copy(&kept, &fresh, &Progress::none())?;
                rename(&fresh, &machine.file(EFI))?;
            }
        }
        sync_directory(machine.path())?;
        if is_new == Some(false) {
            record::note_new(machine, false)?;
        }
        remove_file(&self.root.join(RESTORING))
    }
}

/// Whether a file was written after another one.
fn is_newer(file: &Path, other: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    written(file)
        .and_then(|file| Ok(file > written(other)?))
        .unwrap_or(false)
}

/// How the names of files end that are on their way to their places. Not by `.tmp`, which Lima deletes when it stops a
/// machine by force.
pub(crate) const SUCCESSOR: &str = ".restoring";

/// Where a file's successor is made.
fn beside(machine: &Directory, file: &str) -> PathBuf {
    machine.file(&format!("{file}{SUCCESSOR}"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::backend::lima::machine::record::Record;
    use crate::backend::lima::snapshots::tests::place;
    use crate::error::ErrorKind;

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
    fn a_copys_own_id_goes_and_comes_with_its_disk() {
        let place = place();
        let name = "web-dev".parse().unwrap();
        let is_new = || Record::read(&place.machine, &name).unwrap().unwrap().is_new;
        Record::new(&name).write(&place.machine).unwrap();
        let of_a_copy = place.snapshots.clone().of_new(true);
        let (begin, later): (SnapshotName, SnapshotName) =
            ("begin".parse().unwrap(), "later".parse().unwrap());
        let (now, progress) = (Timestamp::now(), Progress::none());
        of_a_copy
            .keep(&place.machine, &begin, now, None, &progress)
            .unwrap();
        record::note_new(&place.machine, false).unwrap();
        place.keep("later", None).unwrap();
        for (snapshot, expected) in [(&begin, true), (&later, false), (&begin, true)] {
            place
                .snapshots
                .put_back(&place.machine, snapshot, &progress)
                .unwrap();
            assert_eq!(is_new(), expected, "{snapshot}");
        }
        // Where the way back is finished by somebody else, too.
        fs::write(beside(&place.machine, DISK), "one").unwrap();
        write_json(&place.snapshots.root.join(RESTORING), &later).unwrap();
        place.snapshots.finish_restore(&place.machine).unwrap();
        assert!(!is_new());
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
}
