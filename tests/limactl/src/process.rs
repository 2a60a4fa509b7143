//! Processes that may not be children of this one.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The pid in a file, or 0 if that process is dead; then the file is deleted.
pub(crate) fn read_pid(path: &Path) -> u32 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim().parse() {
        Ok(pid) if is_alive(pid) => pid,
        Ok(_) => {
            let _ = std::fs::remove_file(path);
            0
        }
        // No file, or an incomplete one.
        Err(_) => 0,
    }
}

/// A zombie is dead; its parent has not waited for it yet.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// 0 is no process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// Whether all have ended in time; 0 is no process.
pub(crate) fn wait_for_end(pids: &[u32], timeout: Duration) -> bool {
    let until = Instant::now() + timeout;
    while pids.iter().any(|&pid| pid != 0 && is_alive(pid)) {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    true
}
