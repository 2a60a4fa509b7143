//! Files of a running or stopped guest.

use async_trait::async_trait;

use crate::error::Result;
use crate::model::InstanceName;
use tokio::io::AsyncRead;

/// Owner and permissions of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits: `0o755`.
    pub mode: u32,
}

/// Content of a file, a directory or a link.
pub enum Content {
    File(Box<dyn AsyncRead + Send + Sync + Unpin>),
    /// Names of entries; ignored on writing.
    Directory(Vec<String>),
    /// Target of a symbolic link. A relative target may be returned as absolute.
    Link(String),
}

/// A file, a directory or a link in a guest.
pub struct GuestFile {
    pub ownership: Ownership,
    pub content: Content,
}

impl GuestFile {
    /// A file owned by root.
    #[must_use]
    pub fn of_root(mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            ownership: Ownership {
                uid: 0,
                gid: 0,
                mode,
            },
            content: Content::File(Box::new(std::io::Cursor::new(bytes.into()))),
        }
    }
}

/// File access in running and stopped instances. Paths are absolute.
#[async_trait]
pub trait Files: Send + Sync {
    /// Reads a file, a directory or a link. Does not follow a link in the last component.
    ///
    /// # Errors
    /// `NotFound`.
    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile>;

    /// Writes a file, a directory or a link. Replaces a file, keeps a directory.
    ///
    /// # Errors
    /// `NotFound` if the parent directory is missing.
    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()>;
}
