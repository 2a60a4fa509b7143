//! Processes that need not be children.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Pid in a file; 0 if dead, after deleting the file.
pub(crate) fn read_pid(path: &Path) -> u32 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match text.trim().parse() {
        Ok(pid) if is_alive(pid) => pid,
        Ok(_) => {
            let _ = std::fs::remove_file(path);
            0
        }
        // Missing or incomplete.
        Err(_) => 0,
    }
}

/// A zombie is dead, even if its parent has not waited for it.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// Ignores pid 0.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have exited.
        let _ = kill_process(pid, signal);
    }
}

/// Whether all processes end in time. Ignores pid 0.
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
