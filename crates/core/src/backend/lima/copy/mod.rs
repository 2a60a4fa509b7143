//! Copies of disks: blocks are shared where the file system can (APFS, btrfs, xfs), else only what holds
//! data is written, so that a sparse disk stays one ([`data`]).

mod data;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use data::copy_data;
pub(crate) use data::next;

use crate::backend::{Progress, Space};
use crate::error::{Error, ErrorKind, Result};

/// What has to be left free on a volume: a machine that finds none stops in the middle of its work.
const MARGIN: u64 = 64 << 20;

/// Copies a file; the copy is on the disk when this returns, under a name that must not be there yet.
/// Blocking.
///
/// # Errors
/// `Io`, with nothing left at `to`.
pub(crate) fn copy(from: &Path, to: &Path, progress: &Progress) -> Result<()> {
    let copied = try_copy(from, to, progress);
    copied.map_err(|error| {
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        if !exists {
            // What is left of it may be nothing.
            let _ = fs::remove_file(to);
        }
        let full = is_full(&error);
        let message = format!("cannot copy {} to {}", from.display(), to.display());
        let error = Error::io(message, error);
        match full {
            true => error.with_hint(crate::backend::lima::FULL_HINT),
            false => error,
        }
    })
}

/// Whether a volume has no room, or none for this user.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn try_copy(from: &Path, to: &Path, progress: &Progress) -> io::Result<()> {
    let source = File::open(from)?;
    if let Some(shared) = share(&source, to)? {
        return shared.sync_all();
    }
    let target = create(to)?;
    copy_data(&source, &target, to, progress)?;
    target.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .read(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A copy that shares its blocks; `None` where the file system has no such thing.
#[cfg(target_os = "linux")]
fn share(source: &File, to: &Path) -> io::Result<Option<File>> {
    let target = create(to)?;
    match rustix::fs::ioctl_ficlone(&target, source) {
        Ok(()) => Ok(Some(target)),
        Err(error) => {
            fs::remove_file(to)?;
            only_unable(error)
        }
    }
}

/// A copy that shares its blocks; `None` where the file system has no such thing.
#[cfg(target_os = "macos")]
fn share(source: &File, to: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{CWD, CloneFlags, fclonefileat};
    match fclonefileat(source, CWD, to, CloneFlags::empty()) {
        // It has its source's mode, which may forbid to write.
        Ok(()) => Ok(Some(File::open(to)?)),
        Err(rustix::io::Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) => only_unable(error),
    }
}

/// A full volume has no room for bytes either; all else may be done byte by byte.
fn only_unable(error: rustix::io::Errno) -> io::Result<Option<File>> {
    let is_broken = error == rustix::io::Errno::IO;
    let error = io::Error::from(error);
    match is_broken || is_full(&error) {
        true => Err(error),
        false => Ok(None),
    }
}

/// Whether copies in a directory share their blocks, by trying. Blocking.
pub(crate) fn shares(directory: &Path) -> bool {
    let Ok(sample) = tempfile::NamedTempFile::new_in(directory) else {
        return false;
    };
    let to = sample.path().with_extension("clone");
    let shared = sample
        .as_file()
        .set_len(4096)
        .and_then(|()| share(sample.as_file(), &to));
    // Where none was made there is nothing to delete.
    let _ = fs::remove_file(&to);
    matches!(shared, Ok(Some(_)))
}

/// Refuses a copy for which the volume has no room, before anything is changed for it.
///
/// # Errors
/// `Engine`, saying how much is missing.
pub(crate) fn expect_room(directory: &Path, files: &[&Path]) -> Result<()> {
    let volume = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let here = volume(directory);
    let is_shared = |file: &&&Path| here.is_some() && volume(file) == here;
    let shares = shares(directory);
    // What shares its blocks takes none at first.
    let copied = files.iter().filter(|file| !(shares && is_shared(file)));
    let needed: u64 = copied.map(|file| held(file)).sum();
    let free = free(directory)?;
    if needed.saturating_add(MARGIN) <= free {
        return Ok(());
    }
    let message = format!(
        "a copy of the disk takes {}, and {} has {} free",
        crate::model::ByteSize(needed),
        directory.display(),
        crate::model::ByteSize(free)
    );
    Err(Error::new(ErrorKind::Engine, message).with_hint(crate::backend::lima::FULL_HINT))
}

/// Bytes that a file holds on the disk.
pub(crate) fn held(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.blocks() * 512)
}

fn free(directory: &Path) -> Result<u64> {
    let space = space(directory)?;
    Ok(space.total - space.used)
}

/// The volume of a directory, as its users see it: what only root may fill counts as used.
///
/// # Errors
/// `Io`.
pub(crate) fn space(directory: &Path) -> Result<Space> {
    let told = rustix::fs::statvfs(directory);
    let told = told.map_err(|error| {
        Error::io(
            format!("cannot look at {}", directory.display()),
            error.into(),
        )
    })?;
    let total = told.f_blocks.saturating_mul(told.f_frsize);
    let free = told.f_bavail.saturating_mul(told.f_frsize);
    Ok(Space {
        used: total.saturating_sub(free),
        total,
    })
}

/// Writes a directory's entries to the disk. Blocking.
///
/// # Errors
/// `Io`.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{SeekFrom, seek};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("disk"), directory.path().join("copy"));
        let file = create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        for at in [0, 5 << 20, (64 << 20) - 4096] {
            seek(&file, SeekFrom::Start(at)).unwrap();
            (&file).write_all(&[7; 4096]).unwrap();
        }
        drop(file);
        copy(&from, &to, &Progress::none()).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(held(&to) < 2 << 20, "{} bytes are held", held(&to));
        // Never over what is there.
        fs::write(&to, "mine").unwrap();
        assert!(copy(&from, &to, &Progress::none()).is_err());
        assert_eq!(fs::read(&to).unwrap(), b"mine");
    }

    #[test]
    fn an_empty_file_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("disk"), directory.path().join("copy"));
        fs::write(&from, "").unwrap();
        copy(&from, &to, &Progress::none()).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"");
    }
}
