//! Tails of log files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

const TAIL_BYTES: u64 = 16 * 1024;

/// Bytes of a log that are searched.
pub(crate) const SEARCH_BYTES: u64 = 8 << 20;

/// Returns the end of a log; `None` if it cannot be read.
pub(crate) fn tail(path: &Path) -> Option<String> {
    tail_of(path, TAIL_BYTES)
}

/// Returns up to `bytes` bytes of the end of a log.
pub(crate) fn tail_of(path: &Path, bytes: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))
        .ok()?;
    let mut read = Vec::new();
    file.take(bytes).read_to_end(&mut read).ok()?;
    Some(String::from_utf8_lossy(&read).into_owned())
}
