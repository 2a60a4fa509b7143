//! A state file that several processes of a user change.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::home::{Home, read_json, write_json};

/// Identifies the content of a file, which is always replaced atomically.
type Stamp = (u64, i64, i64, u64);

/// Content of a file. Changes lock the file and read it again.
#[derive(Debug)]
pub(super) struct SharedFile<T> {
    home: Home,
    path: PathBuf,
    /// Supported format version.
    version: u32,
    stamp: Option<Stamp>,
    file: T,
    /// Set if the file was invalid and was moved away.
    warning: Option<String>,
}

impl<T: Serialize + DeserializeOwned + Default + Clone + PartialEq> SharedFile<T> {
    pub(super) fn read(home: &Home, name: &str, version: u32) -> Result<Self> {
        let mut shared = Self {
            home: home.clone(),
            path: home.root().join(name),
            version,
            stamp: None,
            file: T::default(),
            warning: None,
        };
        shared.refresh()?;
        Ok(shared)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the warning about an invalid file once.
    pub(super) fn warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    pub(super) fn file(&self) -> &T {
        &self.file
    }

    /// Reloads the file if another process changed it.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let stamp = stamp(&self.path)?;
        if stamp.is_some() && stamp == self.stamp {
            return Ok(());
        }
        let (file, warning) = read_json::<T>(&self.path, self.version)?;
        if let Some(warning) = &warning {
            tracing::warn!("{warning}");
        }
        self.warning = warning.or(self.warning.take());
        self.file = file.unwrap_or_default();
        self.stamp = stamp;
        Ok(())
    }

    /// Changes the content. On failure nothing is changed.
    pub(super) fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        let _lock = self.home.lock()?;
        self.refresh()?;
        let mut file = self.file.clone();
        let changed = change(&mut file);
        if file != self.file {
            write_json(&self.path, &file)?;
            self.file = file;
            self.stamp = stamp(&self.path)?;
        }
        Ok(changed)
    }
}

fn stamp(path: &Path) -> Result<Option<Stamp>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((
            found.ino(),
            found.mtime(),
            found.mtime_nsec(),
            found.len(),
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
    }
}
