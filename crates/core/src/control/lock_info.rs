//! The content of the lock file: where the owner of the control socket listens.
//!
//! Runtime directories differ between desktop sessions, cron and plain logins, so clients read the path here
//! instead of deriving it. The lock itself is the kernel's.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::home::Home;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockInfo {
    pub(super) socket: PathBuf,
    /// Socket on which the previous owner hands its listeners over.
    #[serde(default)]
    pub(super) handover: Option<PathBuf>,
}

impl LockInfo {
    pub(super) fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(super) fn write(&self, file: &mut File) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}

/// Path of the control socket of a home, owned or not.
pub(super) fn socket_path(home: &Home) -> PathBuf {
    let lock = home.control_lock().ok();
    let file = lock.and_then(|lock| File::open(lock).ok());
    let lock_info = file.and_then(|mut file| LockInfo::read(&mut file));
    lock_info.map_or_else(|| home.control_socket(), |lock_info| lock_info.socket)
}
