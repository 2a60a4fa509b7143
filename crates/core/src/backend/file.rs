//! Files of a running or stopped guest.

use async_trait::async_trait;

use crate::error::Result;
use crate::model::InstanceName;
use tokio::io::AsyncRead;

/// Owner and permissions of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// User id in the guest.
    pub uid: u32,
    /// Group id in the guest.
    pub gid: u32,
    /// Permission bits, `0o755`.
    pub mode: u32,
}

/// Content of a file.
pub enum Content {
    /// Bytes.
    File(Box<dyn AsyncRead + Send + Sync + Unpin>),
    /// Names of a directory's entries; ignored when written.
    Directory(Vec<String>),
    /// Target of a symbolic link. A relative one may be read as the absolute path.
    Link(String),
}

/// A file, a directory or a symbolic link in a guest.
pub struct GuestFile {
    /// Owner and permissions.
    pub ownership: Ownership,
    pub content: Content,
}

impl GuestFile {
    /// A file owned by the guest's root.
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

/// Files of an instance, running or not.
#[async_trait]
pub trait Files: Send + Sync {
    /// Reads a file, a directory's names or a link, whether the instance runs or not. `path` is
    /// absolute; a link at its end isn't followed.
    ///
    /// # Errors
    /// `NotFound`.
    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile>;

    /// Writes a file, a directory or a link, whether the instance runs or not. An existing file is
    /// replaced, an existing directory kept.
    ///
    /// # Errors
    /// `NotFound` for a path whose directory isn't there.
    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()>;

    /// Deletes a file, whether the instance runs or not.
    ///
    /// # Errors
    /// `NotFound`.
    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()>;
}
