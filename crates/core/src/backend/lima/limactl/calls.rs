//! Who works on a machine: a note for each call of `limactl` that changes one, while it runs.
//!
//! A killed process's calls go on without it. Who comes after waits for them by their notes. A note names a
//! process by its number and by when it began, for numbers are given out anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use crate::backend::lima::machine::process;
use crate::backend::lima::snapshots::make_directory;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// How often it is looked whether a killed caller's `limactl` has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// The notes, below our directory in `LIMA_HOME`.
pub(crate) struct Calls {
    root: PathBuf,
}

impl Calls {
    pub(crate) fn of(ours: &Path) -> Self {
        Self {
            root: ours.join("calls"),
        }
    }

    fn at(&self, machine: &InstanceName) -> PathBuf {
        self.root.join(machine.as_str())
    }

    /// Says that a process works on a machine, until the note is dropped.
    pub(crate) fn note(&self, machine: &InstanceName, process: Pid) -> Note {
        let path = self.at(machine);
        let written =
            make_directory(&self.root).is_ok() && std::fs::write(&path, text(process)).is_ok();
        // Without it a killed caller isn't waited for; this one goes on.
        Note(written.then_some(path))
    }

    /// Waits for what a killed caller has begun on a machine: nobody ends its `limactl` then.
    ///
    /// # Errors
    /// `Timeout`.
    pub(crate) async fn settle(&self, machine: &InstanceName, timeout: Duration) -> Result<()> {
        let path = self.at(machine);
        let begun = tokio::time::Instant::now();
        loop {
            let Ok(noted) = std::fs::read_to_string(&path) else {
                return Ok(());
            };
            if !lives(&noted) {
                // It is read again only if somebody has begun anew.
                let _ = std::fs::remove_file(&path);
                return Ok(());
            }
            if begun.elapsed() > timeout {
                let message = format!("limactl still works on `{machine}`");
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            // Nobody but its parent hears of a process's end.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Number and identity in a line. One that has ended already has no identity, and is nobody.
fn text(pid: Pid) -> String {
    let identity = process::look(pid).map(|process| process.identity);
    format!(
        "{} {}\n",
        pid.as_raw_nonzero(),
        identity.unwrap_or_default()
    )
}

/// Whether the very process that was noted lives.
fn lives(noted: &str) -> bool {
    let Some((pid, identity)) = noted.trim_end().split_once(' ') else {
        return false;
    };
    let process = pid
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .and_then(process::look);
    process.is_some_and(|process| process.identity == identity)
}

/// Stands while somebody works on a machine.
pub(crate) struct Note(Option<PathBuf>);

impl Drop for Note {
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
    async fn only_the_very_process_that_was_noted_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let (calls, name): (_, InstanceName) = (Calls::of(home.path()), "dev".parse().unwrap());
        let me = rustix::process::getpid();
        let timeout = Duration::ZERO;
        calls.settle(&name, timeout).await.unwrap();
        let note = calls.note(&name, me);
        let error = calls.settle(&name, timeout).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        drop(note);
        assert!(!calls.at(&name).exists());
        // Its number was given out anew: once in this boot, once after a reboot.
        let identity = process::look(me).unwrap().identity;
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
