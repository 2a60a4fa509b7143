//! Running calls of `limactl` that change a machine: one marker file each.
//!
//! The calls of a killed process continue without it; the next operation waits for them by their markers. A marker
//! holds pid and start time of its process, because pids are reused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::super::machine::process;
use crate::error::{Error, ErrorKind, Result};
use crate::home::create_private_directory;
use crate::model::InstanceName;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The marker files in the state directory.
pub(crate) struct RunningCalls {
    root: PathBuf,
}

impl RunningCalls {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            root: state_dir.join("calls"),
        }
    }

    fn at(&self, machine: &InstanceName) -> PathBuf {
        self.root.join(machine.as_str())
    }

    /// Marks that a process works on a machine, until the marker is dropped.
    pub(crate) fn mark(&self, machine: &InstanceName, process: Pid) -> CallMarker {
        let path = self.at(machine);
        let written = create_private_directory(&self.root).is_ok()
            && std::fs::write(&path, marker_text(process)).is_ok();
        // Without a marker the next operation would not wait; this call continues.
        CallMarker(written.then_some(path))
    }

    /// Waits for a `limactl` call of a killed process to end.
    ///
    /// # Errors
    /// `Timeout`.
    pub(crate) async fn settle(&self, machine: &InstanceName, timeout: Duration) -> Result<()> {
        let path = self.at(machine);
        let started = tokio::time::Instant::now();
        loop {
            let Ok(marker) = std::fs::read_to_string(&path) else {
                return Ok(());
            };
            if !is_alive(&marker) {
                // A stale marker.
                let _ = std::fs::remove_file(&path);
                return Ok(());
            }
            if started.elapsed() > timeout {
                let message = format!("limactl is still working on `{machine}`");
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            // Only a parent is notified of a process's end.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// `PID IDENTITY`; the identity of a process that has ended is empty.
fn marker_text(pid: Pid) -> String {
    let identity = process::find(pid).map(|process| process.identity);
    format!(
        "{} {}\n",
        pid.as_raw_nonzero(),
        identity.unwrap_or_default()
    )
}

/// Whether the process of a marker is alive.
fn is_alive(marker: &str) -> bool {
    let Some((pid, identity)) = marker.trim_end().split_once(' ') else {
        return false;
    };
    let process = pid
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .and_then(process::find);
    process.is_some_and(|process| process.identity == identity)
}

/// Deletes its file when dropped.
pub(crate) struct CallMarker(Option<PathBuf>);

impl Drop for CallMarker {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_only_for_the_recorded_process() {
        let home = tempfile::tempdir().unwrap();
        let (calls, name): (_, InstanceName) =
            (RunningCalls::new(home.path()), "dev".parse().unwrap());
        let me = rustix::process::getpid();
        let timeout = Duration::ZERO;
        calls.settle(&name, timeout).await.unwrap();
        let mark = calls.mark(&name, me);
        let error = calls.settle(&name, timeout).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        drop(mark);
        assert!(!calls.at(&name).exists());
        // A reused pid: in this boot, and after a reboot.
        let identity = process::find(me).unwrap().identity;
        for other in [format!("{identity}0"), format!("another {identity}")] {
            std::fs::write(
                calls.at(&name),
                format!("{} {other}\n", me.as_raw_nonzero()),
            )
            .unwrap();
            calls.settle(&name, timeout).await.unwrap();
            assert!(!calls.at(&name).exists());
        }
    }
}
