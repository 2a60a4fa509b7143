//! Files of a guest that may be stopped.

use tokio::io::AsyncRead;

/// Whose a file is, and what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// Number of its user in the guest.
    pub uid: u32,
    /// Number of its group in the guest.
    pub gid: u32,
    /// Permission bits, `0o755`.
    pub mode: u32,
}

/// What is in a file.
pub enum Content {
    /// Bytes, to their end.
    File(Box<dyn AsyncRead + Send + Sync + Unpin>),
    /// Names of what a directory holds; of no meaning when it is written.
    Directory(Vec<String>),
    /// Where a symbolic link leads. A relative one may be read as the absolute path that it means.
    Link(String),
}

/// A file, a directory or a symbolic link in a guest.
pub struct GuestFile {
    /// Whose it is.
    pub ownership: Ownership,
    /// What is in it.
    pub content: Content,
}

impl GuestFile {
    /// A file of the guest's root with these bytes.
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
