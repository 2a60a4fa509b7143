//! Copies of disks: blocks are shared where supported (APFS, btrfs, xfs); otherwise only data is written, so that
//! sparse disks stay sparse ([`data`]).

mod data;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use data::copy_data;
pub(crate) use data::seek_next;

use crate::backend::{Progress, Space};
use crate::error::{Error, ErrorKind, Result};

/// Free space to keep on a volume, for running machines.
const RESERVED_BYTES: u64 = 64 << 20;

/// Copies a file to a new one and syncs it. Blocking.
pub(crate) fn copy(from: &Path, to: &Path, progress: &Progress) -> Result<()> {
    let copied = try_copy(from, to, progress);
    copied.map_err(|error| {
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        if !exists {
            // It may not exist.
            let _ = fs::remove_file(to);
        }
        let full = is_full(&error);
        let message = format!("cannot copy {} to {}", from.display(), to.display());
        let error = Error::io(message, error);
        if full {
            error.with_hint(super::errors::VOLUME_FULL_HINT)
        } else {
            error
        }
    })
}

/// Whether the volume or the user's quota is full.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn try_copy(from: &Path, to: &Path, progress: &Progress) -> io::Result<()> {
    let source = File::open(from)?;
    if let Some(shared) = try_reflink(&source, to)? {
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

/// Copies by sharing blocks; `None` if unsupported.
#[cfg(target_os = "linux")]
fn try_reflink(source: &File, to: &Path) -> io::Result<Option<File>> {
    let target = create(to)?;
    match rustix::fs::ioctl_ficlone(&target, source) {
        Ok(()) => Ok(Some(target)),
        Err(error) => {
            fs::remove_file(to)?;
            none_if_unsupported(error)
        }
    }
}

/// Copies by sharing blocks; `None` if unsupported.
#[cfg(target_os = "macos")]
fn try_reflink(source: &File, to: &Path) -> io::Result<Option<File>> {
    use rustix::fs::{CWD, CloneFlags, fclonefileat};
    match fclonefileat(source, CWD, to, CloneFlags::empty()) {
        // Reopened for reading: it has the mode of its source.
        Ok(()) => Ok(Some(File::open(to)?)),
        Err(rustix::io::Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) => none_if_unsupported(error),
    }
}

/// `None` if a copy of the bytes may still succeed.
fn none_if_unsupported(error: rustix::io::Errno) -> io::Result<Option<File>> {
    let is_broken = error == rustix::io::Errno::IO;
    let error = io::Error::from(error);
    if is_broken || is_full(&error) {
        Err(error)
    } else {
        Ok(None)
    }
}

/// Tests whether copies in a directory share blocks. Blocking.
pub(crate) fn supports_reflinks(directory: &Path) -> bool {
    let Ok(sample) = tempfile::NamedTempFile::new_in(directory) else {
        return false;
    };
    let to = sample.path().with_extension("clone");
    let shared = sample
        .as_file()
        .set_len(4096)
        .and_then(|()| try_reflink(sample.as_file(), &to));
    // It may not exist.
    let _ = fs::remove_file(&to);
    matches!(shared, Ok(Some(_)))
}

/// Checks the free space for a copy, before anything is changed for it.
///
/// # Errors
/// `Engine` without enough space.
pub(crate) fn ensure_room(directory: &Path, files: &[&Path]) -> Result<()> {
    let volume = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let here = volume(directory);
    let is_shared = |file: &&&Path| here.is_some() && volume(file) == here;
    let supports_reflinks = supports_reflinks(directory);
    // Shared blocks take no space at first.
    let copied = files
        .iter()
        .filter(|file| !(supports_reflinks && is_shared(file)));
    let needed: u64 = copied.map(|file| allocated(file)).sum();
    let free = free(directory)?;
    if needed.saturating_add(RESERVED_BYTES) <= free {
        return Ok(());
    }
    let message = format!(
        "not enough space: a copy of the disk needs {}, {} has {} free",
        crate::model::ByteSize(needed),
        directory.display(),
        crate::model::ByteSize(free)
    );
    Err(Error::new(ErrorKind::Engine, message).with_hint(super::errors::VOLUME_FULL_HINT))
}

/// Allocated bytes of a file.
pub(crate) fn allocated(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.blocks() * 512)
}

fn free(directory: &Path) -> Result<u64> {
    let space = space(directory)?;
    Ok(space.total - space.used)
}

/// Space of a directory's volume; blocks reserved for root count as used.
///
/// # Errors
/// `Io`.
pub(crate) fn space(directory: &Path) -> Result<Space> {
    let stat = rustix::fs::statvfs(directory);
    let stat = stat
        .map_err(|error| Error::io(format!("cannot read {}", directory.display()), error.into()))?;
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    Ok(Space {
        used: total.saturating_sub(free),
        total,
    })
}

/// Syncs a directory's entries. Blocking.
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
    fn copy_has_same_bytes_and_holes() {
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
        assert!(
            allocated(&to) < 2 << 20,
            "{} bytes are allocated",
            allocated(&to)
        );
        // Existing files are not overwritten.
        fs::write(&to, "mine").unwrap();
        assert!(copy(&from, &to, &Progress::none()).is_err());
        assert_eq!(fs::read(&to).unwrap(), b"mine");
    }

    #[test]
    fn copies_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("disk"), directory.path().join("copy"));
        fs::write(&from, "").unwrap();
        copy(&from, &to, &Progress::none()).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"");
    }
}
