//! What the lock's file says of who holds it.
//!
//! Only a text: the lock itself is the kernel's. It leads everybody who uses a home to the one who answers for it, whatever
//! place for sockets either was given: a session of a desktop has another one than cron, or than a login without a session.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::home::Home;

/// Where the holder is found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LockInfo {
    /// The socket on which it answers.
    pub(super) socket: PathBuf,
    /// Where the one who has just given the lock back hands its listeners over.
    #[serde(default)]
    pub(super) handover: Option<PathBuf>,
}

impl LockInfo {
    /// What the file of a lock that is held says.
    pub(super) fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes it into the file of a lock that we hold.
    pub(super) fn write(&self, file: &mut File) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}

/// The socket on which somebody answers for this home, or would.
pub(super) fn socket(home: &Home) -> PathBuf {
    let lock = home.control_lock().ok();
    let file = lock.and_then(|lock| File::open(lock).ok());
    let lock_info = file.and_then(|mut file| LockInfo::read(&mut file));
    lock_info.map_or_else(|| home.control_socket(), |lock_info| lock_info.socket)
}
