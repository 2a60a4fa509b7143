//! Deleting a project's file so that it can be put back exactly.
//!
//! A file that is a symbolic link is deleted as the link that it is: what it leads to lies elsewhere and is
//! somebody's own, in a repository of such files, say. Put back, it is the same link again, and a file where
//! the link would lead nowhere.

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

/// All that is needed to put a project's file back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its text.
    pub text: String,
    /// Its permission bits.
    pub mode: u32,
    /// Numbers of its user and its group.
    pub owner: (u32, u32),
    /// Where it leads, if it is a symbolic link.
    pub link: Option<PathBuf>,
}

impl fmt::Debug for KeptFile {
    /// Without the text: passwords may be in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptFile")
            .field("bytes", &self.text.len())
            .field("mode", &self.mode)
            .field("owner", &self.owner)
            .field("link", &self.link)
            .finish()
    }
}

impl Project {
    /// What [`restore_file`] needs. To be stored before [`Project::delete_file`].
    ///
    /// # Errors
    /// `Io` where the file can't be read.
    pub fn keep_file(&self) -> Result<KeptFile> {
        kept(&self.directory().join(FILE_NAME))
    }

    /// Deletes the file, under the project's lock; a file that is gone already is deleted.
    ///
    /// # Errors
    /// `Conflict` where it isn't the one that was kept any more, `Io` where it can't be deleted.
    pub fn delete_file(&self, expected: &KeptFile) -> Result<()> {
        let _lock = lock(self.directory())?;
        let path = self.directory().join(FILE_NAME);
        match kept(&path) {
            Ok(now) if now == *expected => {}
            Ok(_) => {
                let message = format!("{} was changed meanwhile", path.display());
                return Err(Error::new(ErrorKind::Conflict, message)
                    .with_hint("look at it, and do this again"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        fs::remove_file(&path)
            .and_then(|()| flush(self.directory()))
            .map_err(|error| Error::io(format!("cannot delete {}", path.display()), error))
    }
}

/// Puts a deleted file back, byte for byte, with its mode and owner.
///
/// # Errors
/// `AlreadyExists` where there is one, `Io` where it can't be written.
pub fn restore_file(directory: &Path, kept: &KeptFile) -> Result<Project> {
    let path = directory.join(FILE_NAME);
    let restored = {
        let _lock = lock(directory)?;
        match &kept.link {
            Some(target) if directory.join(target).is_file() => symlink(target, &path),
            _ => write(directory, &path, kept),
        }
    };
    match restored.and_then(|()| flush(directory)) {
        Ok(()) => Project::open(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", path.display());
            Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint("move it away, and do this again"))
        }
        Err(error) => Err(Error::io(
            format!("cannot put {} back", path.display()),
            error,
        )),
    }
}

fn kept(path: &Path) -> Result<KeptFile> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let text = read(path)?;
    let about = fs::metadata(path).map_err(failed)?;
    let is_link = fs::symlink_metadata(path).map_err(failed)?.is_symlink();
    let link = is_link.then(|| fs::read_link(path)).transpose();
    Ok(KeptFile {
        text,
        mode: about.mode() & 0o7777,
        owner: (about.uid(), about.gid()),
        link: link.map_err(failed)?,
    })
}

/// Makes the file as a whole, and only where there is none.
fn write(directory: &Path, path: &Path, kept: &KeptFile) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(".ldm-")
        .tempfile_in(directory)?;
    file.write_all(kept.text.as_bytes())?;
    if rustix::process::geteuid().as_raw() == 0 {
        chown(file.path(), Some(kept.owner.0), Some(kept.owner.1))?;
    }
    let mode = fs::Permissions::from_mode(kept.mode);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

fn flush(directory: &Path) -> io::Result<()> {
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
    fn a_deleted_file_is_put_back_exactly() {
        let (directory, project) = project();
        let kept = project.keep_file().unwrap();
        project.delete_file(&kept).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        project.delete_file(&kept).unwrap();
        // As the ledger stores it.
        let stored = serde_json::to_string(&kept).unwrap();
        let kept: KeptFile = serde_json::from_str(&stored).unwrap();
        restore_file(directory.path(), &kept).unwrap();
        assert_eq!(project.keep_file().unwrap(), kept);
        assert_eq!((kept.text.as_str(), kept.mode), (TEXT, 0o640));
        assert!(!format!("{kept:?}").contains("webapp"), "its text is shown");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_never_overwritten() {
        let (directory, project) = project();
        let kept = project.keep_file().unwrap();
        let path = directory.path().join(FILE_NAME);
        fs::write(&path, "project: other\n").unwrap();
        let error = restore_file(directory.path(), &kept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "project: other\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_was_changed_since_it_was_kept_is_not_deleted() {
        let (directory, project) = project();
        let kept = project.keep_file().unwrap();
        let path = directory.path().join(FILE_NAME);
        fs::write(&path, "project: webapp\n").unwrap();
        let error = project.delete_file(&kept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(fs::read_to_string(&path).unwrap(), "project: webapp\n");
    }

    #[test]
    fn a_link_is_deleted_and_made_again_and_what_it_leads_to_is_left() {
        let (directory, project) = project();
        let elsewhere = tempfile::tempdir().unwrap();
        let real = elsewhere.path().join("webapp.yaml");
        let path = directory.path().join(FILE_NAME);
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        let kept = project.keep_file().unwrap();
        project.delete_file(&kept).unwrap();
        assert!(fs::symlink_metadata(&path).is_err());
        assert_eq!(fs::read_to_string(&real).unwrap(), TEXT);
        restore_file(directory.path(), &kept).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), real);
        project.delete_file(&kept).unwrap();
        // Where the link would lead nowhere, the text is what counts.
        fs::remove_file(&real).unwrap();
        restore_file(directory.path(), &kept).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&path).unwrap(), TEXT);
    }
}
