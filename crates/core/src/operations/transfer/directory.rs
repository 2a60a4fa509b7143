//! Directories of the host by descriptor. No call follows a link below the opened directory, so that nobody who can
//! write there can lead a copy elsewhere, not even while it runs.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// For directories on the way, which need not be readable.
#[cfg(target_os = "linux")]
const PASS: OFlags = OPEN.union(OFlags::PATH);
#[cfg(not(target_os = "linux"))]
const PASS: OFlags = OPEN;
const PRIVATE: Mode = Mode::RWXU;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Link,
    Other,
}

impl Directory {
    /// Opens an absolute path without links.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut directory = fs::open("/", PASS, Mode::empty())?;
        for part in path.components() {
            match part {
                Component::RootDir => {}
                Component::Normal(name) => {
                    directory = fs::openat(&directory, name, PASS, Mode::empty())?;
                }
                _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
            }
        }
        Ok(Self(fs::openat(&directory, ".", OPEN, Mode::empty())?))
    }

    /// Opens a directory in this one.
    pub(super) fn child(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self(fs::openat(&self.0, name, OPEN, Mode::empty())?))
    }

    /// Opens a file for reading. Anything else is an error, and does not block.
    pub(super) fn open_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.0, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("not a regular file any more"))
        }
    }

    /// Opens a directory below this one; with `create` it and its parents are created if missing.
    pub(super) fn descend(&self, path: &Path, create: bool) -> io::Result<Self> {
        let mut directory = Self(self.0.try_clone()?);
        for part in path.components() {
            if create && directory.kind(part.as_os_str())?.is_none() {
                directory.create(part.as_os_str())?;
            }
            directory = directory.child(part.as_os_str())?;
        }
        Ok(directory)
    }

    /// What a name is; `None` if it is missing.
    pub(super) fn kind(&self, name: &OsStr) -> io::Result<Option<Kind>> {
        let about = match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => about,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        }))
    }

    /// Creates a directory, for this user only.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::mkdirat(&self.0, name, PRIVATE)?)
    }

    /// Creates a file, for this user only.
    pub(super) fn create_file(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(file.into())
    }

    /// Creates a symbolic link.
    pub(super) fn create_link(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(fs::symlinkat(target, &self.0, name)?)
    }

    /// Creates a hard link to a file in another directory.
    pub(super) fn create_hard_link(
        &self,
        name: &OsStr,
        from: &Self,
        file: &OsStr,
    ) -> io::Result<()> {
        Ok(fs::linkat(&from.0, file, &self.0, name, AtFlags::empty())?)
    }

    /// Moves a file, link or directory.
    pub(super) fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.0, name, &to.0, new)?)
    }

    /// Sets the permissions of this directory.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        File::from(self.0.try_clone()?).set_permissions(Permissions::from_mode(mode))
    }

    /// Fails unless entries can be added and removed.
    pub(super) fn ensure_writable(&self) -> io::Result<()> {
        let access = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
        Ok(fs::accessat(&self.0, ".", access, AtFlags::EACCESS)?)
    }

    /// The names in this directory.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Deletes a file, or a directory with all that is in it.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        let flags = match self.kind(name)? {
            None => return Ok(()),
            Some(Kind::Directory) => {
                let child = self.child(name)?;
                for below in child.names()? {
                    child.remove(&below)?;
                }
                AtFlags::REMOVEDIR
            }
            Some(_) => AtFlags::empty(),
        };
        Ok(fs::unlinkat(&self.0, name, flags)?)
    }
}
