//! Deletion of a project's file with an exact restore.
//!
//! A symbolic link is deleted as a link, never its target, which may belong to another repository.
//! It is restored as the same link, or as a file if the target is missing.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::read;
use super::store::lock;
use super::{FILE_NAME, Project};
use crate::error::{Error, ErrorKind, Result};

/// All data to restore a project's file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBackup {
    pub text: String,
    /// Permission bits.
    pub mode: u32,
    /// User and group id.
    pub owner: (u32, u32),
    /// Target, if it is a symbolic link.
    pub link: Option<PathBuf>,
}

impl fmt::Debug for FileBackup {
    /// Without the text, which may contain passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBackup")
            .field("bytes", &self.text.len())
            .field("mode", &self.mode)
            .field("owner", &self.owner)
            .field("link", &self.link)
            .finish()
    }
}

impl Project {
    /// The data for [`restore_file`]; to be stored before [`Project::delete_file`].
    ///
    /// # Errors
    /// `Io` if the file is unreadable.
    pub fn back_up_file(&self) -> Result<FileBackup> {
        read_backup(&self.directory().join(FILE_NAME))
    }

    /// Deletes the file under the project's lock. Succeeds if it is missing.
    ///
    /// # Errors
    /// `Conflict` if the file has changed since the backup, `Io` if it cannot be deleted.
    pub fn delete_file(&self, expected: &FileBackup) -> Result<()> {
        let _lock = lock(self.directory())?;
        let path = self.directory().join(FILE_NAME);
        match read_backup(&path) {
            Ok(current) if current == *expected => {}
            Ok(_) => {
                let message = format!("{} has changed in the meantime", path.display());
                return Err(Error::new(ErrorKind::Conflict, message)
                    .with_hint("check the file, then try again"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        fs::remove_file(&path)
            .and_then(|()| sync(self.directory()))
            .map_err(|error| Error::io(format!("cannot delete {}", path.display()), error))
    }
}

/// Restores a deleted file byte for byte, with mode and owner.
///
/// # Errors
/// `AlreadyExists` if there is one, `Io` if it cannot be written.
pub fn restore_file(directory: &Path, backup: &FileBackup) -> Result<Project> {
    let path = directory.join(FILE_NAME);
    let restored = {
        let _lock = lock(directory)?;
        match &backup.link {
            Some(target) if directory.join(target).is_file() => symlink(target, &path),
            _ => write(directory, &path, backup),
        }
    };
    match restored.and_then(|()| sync(directory)) {
        Ok(()) => Project::open(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("{} already exists", path.display());
            Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint("move it away, then try again"))
        }
        Err(error) => Err(Error::io(
            format!("cannot restore {}", path.display()),
            error,
        )),
    }
}

fn read_backup(path: &Path) -> Result<FileBackup> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let text = read(path)?;
    let metadata = fs::metadata(path).map_err(failed)?;
    let is_link = fs::symlink_metadata(path).map_err(failed)?.is_symlink();
    let link = is_link.then(|| fs::read_link(path)).transpose();
    Ok(FileBackup {
        text,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        link: link.map_err(failed)?,
    })
}

/// Creates the file atomically; fails if there is one.
fn write(directory: &Path, path: &Path, backup: &FileBackup) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".ldm-")
        .tempfile_in(directory)?;
    file.write_all(backup.text.as_bytes())?;
    if rustix::process::geteuid().as_raw() == 0 {
        chown(file.path(), Some(backup.owner.0), Some(backup.owner.1))?;
    }
    let mode = fs::Permissions::from_mode(backup.mode);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

fn sync(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ours\r\nproject: webapp # kept\ncontainers:\n  dev: {image: x}";

    fn project() -> (tempfile::TempDir, Project) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        fs::write(&path, TEXT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let project = Project::open(directory.path()).unwrap();
        (directory, project)
    }

    #[test]
    fn restores_a_deleted_file_exactly() {
        let (directory, project) = project();
        let backup = project.back_up_file().unwrap();
        project.delete_file(&backup).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        project.delete_file(&backup).unwrap();
        // The ledger stores it as JSON.
        let stored = serde_json::to_string(&backup).unwrap();
        let backup: FileBackup = serde_json::from_str(&stored).unwrap();
        restore_file(directory.path(), &backup).unwrap();
        assert_eq!(project.back_up_file().unwrap(), backup);
        assert_eq!((backup.text.as_str(), backup.mode), (TEXT, 0o640));
        assert!(
            !format!("{backup:?}").contains("webapp"),
            "the text is shown"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn never_overwrites_an_existing_file() {
        let (directory, project) = project();
        let backup = project.back_up_file().unwrap();
        let path = directory.path().join(FILE_NAME);
        fs::write(&path, "project: other\n").unwrap();
        let error = restore_file(directory.path(), &backup).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "project: other\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn does_not_delete_a_changed_file() {
        let (directory, project) = project();
        let backup = project.back_up_file().unwrap();
        let path = directory.path().join(FILE_NAME);
        fs::write(&path, "project: webapp\n").unwrap();
        let error = project.delete_file(&backup).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(fs::read_to_string(&path).unwrap(), "project: webapp\n");
    }

    #[test]
    fn deletes_and_restores_a_link_without_its_target() {
        let (directory, project) = project();
        let elsewhere = tempfile::tempdir().unwrap();
        let real = elsewhere.path().join("webapp.yaml");
        let path = directory.path().join(FILE_NAME);
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        let backup = project.back_up_file().unwrap();
        project.delete_file(&backup).unwrap();
        assert!(fs::symlink_metadata(&path).is_err());
        assert_eq!(fs::read_to_string(&real).unwrap(), TEXT);
        restore_file(directory.path(), &backup).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), real);
        project.delete_file(&backup).unwrap();
        // With a missing target, the text is restored as a file.
        fs::remove_file(&real).unwrap();
        restore_file(directory.path(), &backup).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }
}
