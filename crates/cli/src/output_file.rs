//! Files that a command writes for the user.

use std::path::Path;

use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

/// File name that stands for stdin or stdout.
pub(crate) const STDIO: &str = "-";

/// A temporary file next to its final path, so that the final file is always complete.
pub(crate) struct OutputFile<'a> {
    pub(crate) file: NamedTempFile,
    path: &'a Path,
    force: bool,
}

impl<'a> OutputFile<'a> {
    /// Creates the temporary file.
    ///
    /// # Errors
    /// `AlreadyExists` without `force`, `Conflict` if the path is not a regular file.
    pub(crate) fn create(path: &'a Path, force: bool) -> Result<Self> {
        if path.exists() && !path.is_file() {
            let message = format!("{} is not a regular file", path.display());
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("write to stdout (`-`) and redirect it"));
        }
        if path.symlink_metadata().is_ok() && !force {
            return Err(already_exists(path));
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let file = tempfile::Builder::new()
            .prefix(".ldm-output-")
            .tempfile_in(directory)
            .map_err(|error| write_error(path, error))?;
        Ok(Self { file, path, force })
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Moves the file to its final path.
    ///
    /// # Errors
    /// `AlreadyExists` if another process created it meanwhile.
    pub(crate) fn persist(self) -> Result<()> {
        let persisted = if self.force {
            self.file.persist(self.path)
        } else {
            self.file.persist_noclobber(self.path)
        };
        match persisted {
            Ok(_) => Ok(()),
            Err(failed) if failed.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(already_exists(self.path))
            }
            Err(failed) => Err(write_error(self.path, failed.error)),
        }
    }
}

/// The error of a failed write to a path.
pub(crate) fn write_error(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), error)
}

fn already_exists(path: &Path) -> Error {
    let message = format!("{} already exists", path.display());
    Error::new(ErrorKind::AlreadyExists, message).with_hint("replace it with `-f`")
}
