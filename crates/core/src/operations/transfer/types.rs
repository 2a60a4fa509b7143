//! What to copy, and what was copied.

use std::path::PathBuf;

use crate::model::{ByteSize, EnvName};

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Host(PathBuf),
    /// In an env. `~` and relative paths start at the home of the env's user.
    Guest {
        env: EnvName,
        path: String,
    },
}

/// A requested copy.
#[derive(Debug, Clone)]
pub struct TransferRequest {
    /// A file or a directory.
    pub from: Location,
    /// An existing directory to copy into; else the new name.
    pub to: Location,
    /// Create missing parent directories.
    pub create_directories: bool,
    /// Limit of a copy out of an env, which may send without end.
    pub max: ByteSize,
}

/// Files that were copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transferred {
    pub target: String,
    /// Number of files, without directories.
    pub files: u64,
    pub bytes: u64,
    /// Sockets and devices, which are not copied: the first of them, with control characters escaped.
    pub skipped: Vec<String>,
}
