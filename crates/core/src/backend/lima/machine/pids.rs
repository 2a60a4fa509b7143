//! Owner of the process in a pid file.
//!
//! Lima writes only the pid, and after a crash takes any process with that pid for its own, which `limactl stop -f`
//! would kill. Lima's processes have the machine's directory in their arguments. A process without it is foreign if
//! it started after the file was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::process;
use crate::error::{Error, ErrorKind, Result};

/// Of the host agent.
pub(crate) const AGENT: &str = "ha.pid";
pub(crate) const DRIVERS: [&str; 2] = ["vz.pid", "qemu.pid"];
/// Accuracy of a process's start time.
const START_TIME_TOLERANCE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Characters of a foreign command in messages.
const MAX_COMMAND_CHARS: usize = 60;

/// Owner of the process in a pid file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PidOwner {
    /// No such process, or no file.
    None,
    Machine(Pid),
    /// An unrelated process with a reused pid.
    Foreign(ForeignProcess),
}

/// An unrelated process that has reused the pid of a crashed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignProcess {
    /// The pid file.
    pub(crate) file: PathBuf,
    pub(crate) pid: i32,
    /// Truncated; empty if not visible to this user.
    pub(crate) command: String,
}

/// A process of a machine; detects reuse of the pid.
#[derive(Debug)]
pub(crate) struct LiveProcess {
    pid: Pid,
    identity: String,
}

impl LiveProcess {
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        let identity = process::find(pid)?.identity;
        Some(Self { pid, identity })
    }

    fn is_alive(&self) -> bool {
        process::find(self.pid).is_some_and(|process| process.identity == self.identity)
    }
}

/// Kills the processes that are still alive, and waits for their end.
///
/// # Errors
/// `Timeout`.
pub(crate) async fn kill_all(mut processes: Vec<LiveProcess>, timeout: Duration) -> Result<()> {
    let started = tokio::time::Instant::now();
    loop {
        processes.retain(LiveProcess::is_alive);
        let Some(first) = processes.first() else {
            return Ok(());
        };
        if started.elapsed() > timeout {
            let message = format!("process {} does not end", first.pid.as_raw_nonzero());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        for process in &processes {
            // It may have ended meanwhile.
            let _ = kill_process(process.pid, Signal::KILL);
        }
        // Only a parent is notified of a process's end.
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Finds the owner of the process in a pid file of a machine's directory.
pub(crate) fn owner(machine: &Path, file: &str) -> PidOwner {
    let path = machine.join(file);
    let number = fs::read_to_string(&path).ok();
    let number = number.and_then(|text| text.trim().parse().ok());
    let Some(pid) = number.and_then(Pid::from_raw) else {
        return PidOwner::None;
    };
    let foreign = |command: String| {
        PidOwner::Foreign(ForeignProcess {
            file: path.clone(),
            pid: pid.as_raw_nonzero().get(),
            command: command.chars().take(MAX_COMMAND_CHARS).collect(),
        })
    };
    match test_kill_process(pid) {
        // Another user's process.
        Err(rustix::io::Errno::PERM) => return foreign(String::new()),
        Err(_) => return PidOwner::None,
        Ok(()) => {}
    }
    if agent_responds(machine, file) {
        return PidOwner::Machine(pid);
    }
    let Some(process) = process::find(pid) else {
        return PidOwner::None;
    };
    if contains_path(&process.command, machine) || !started_after(process.started_at, &path) {
        PidOwner::Machine(pid)
    } else {
        foreign(process.command)
    }
}

/// Whether the agent responds, which saves a call of `ps` on macOS.
fn agent_responds(machine: &Path, file: &str) -> bool {
    cfg!(target_os = "macos")
        && file == AGENT
        && std::os::unix::net::UnixStream::connect(machine.join("ha.sock")).is_ok()
}

/// Whether a command contains a machine's directory; Lima uses the canonical path.
fn contains_path(command: &str, machine: &Path) -> bool {
    let resolved = machine.canonicalize();
    let mut paths = resolved.iter().map(PathBuf::as_path).chain([machine]);
    paths.any(|path| command.contains(&format!("{}/", path.display())))
}

/// Whether a process started after a file was written, so that the file is not its own.
fn started_after(started_at: Timestamp, file: &Path) -> bool {
    let written = fs::metadata(file).and_then(|found| found.modified());
    let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
    written.is_some_and(|written| {
        started_at
            > written
                .saturating_add(START_TIME_TOLERANCE)
                .unwrap_or(written)
    })
}

impl std::fmt::Display for ForeignProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, pid, command } = self;
        write!(f, "{} contains the pid {pid}", file.display())?;
        if command.is_empty() {
            write!(f, " of another user's process")
        } else {
            write!(f, " of an unrelated process (`{command}`)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};
    use std::time::SystemTime;

    /// A process that blocks until it is killed.
    struct BlockedChild(Child);

    impl BlockedChild {
        fn new(argument: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "echo; read -r _", "sh", argument]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // Its arguments are visible once it runs.
            let mut line = [0];
            child
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut line)
                .unwrap();
            Self(child)
        }
    }

    impl Drop for BlockedChild {
        fn drop(&mut self) {
            // It may have ended already.
            let _ = self.0.kill();
            self.0.wait().unwrap();
        }
    }

    fn write(machine: &Path, child: &BlockedChild, age: u64) {
        let path = machine.join(AGENT);
        fs::write(&path, format!("{}\n", child.0.id())).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        let written = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(written).unwrap();
    }

    #[test]
    fn process_younger_than_its_pid_file_is_foreign() {
        let machine = tempfile::tempdir().unwrap();
        let machine = machine.path();
        assert_eq!(owner(machine, AGENT), PidOwner::None);
        let child = BlockedChild::new("anything");
        write(machine, &child, 0);
        assert!(matches!(owner(machine, AGENT), PidOwner::Machine(_)));
        write(machine, &child, 3600);
        let PidOwner::Foreign(foreign) = owner(machine, AGENT) else {
            panic!("taken for the machine's");
        };
        assert_eq!(foreign.pid, i32::try_from(child.0.id()).unwrap());
        assert!(foreign.to_string().contains("read -r _"), "{foreign}");
        drop(child);
        assert_eq!(owner(machine, AGENT), PidOwner::None);
    }

    #[tokio::test]
    async fn kills_only_the_recorded_process() {
        let mut child = BlockedChild::new("anything");
        let pid = Pid::from_raw(child.0.id().try_into().unwrap()).unwrap();
        let identity = "another boot".to_owned();
        kill_all(vec![LiveProcess { pid, identity }], Duration::ZERO)
            .await
            .unwrap();
        assert!(child.0.try_wait().unwrap().is_none(), "killed");
        let process = LiveProcess::of(pid).unwrap();
        kill_all(vec![process], Duration::from_secs(20))
            .await
            .unwrap();
        assert!(child.0.try_wait().unwrap().is_some());
    }

    #[test]
    fn process_with_machine_path_is_its_own() {
        let machine = tempfile::tempdir().unwrap();
        let argument = format!("--pidfile={}/ha.pid", machine.path().display());
        let child = BlockedChild::new(&argument);
        write(machine.path(), &child, 3600);
        assert!(matches!(owner(machine.path(), AGENT), PidOwner::Machine(_)));
        // Not of a machine with the same prefix.
        let other = machine.path().with_extension("x");
        assert!(!contains_path(&argument, &other));
    }
}
