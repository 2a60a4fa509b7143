//! Whose the process is that a pid file of a machine's directory names.
//!
//! Lima writes numbers only, and takes any process that has one for its own: after a crash that is a
//! stranger's perhaps, which `limactl stop -f` would kill. Lima's own processes name the machine's directory in
//! their arguments. One that doesn't is a stranger if it began after the file was written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::backend::lima::machine::process;
use crate::error::{Error, ErrorKind, Result};

/// The host agent's.
pub(crate) const AGENT: &str = "ha.pid";
/// Of the two drivers, whose process is the machine.
pub(crate) const DRIVERS: [&str; 2] = ["vz.pid", "qemu.pid"];
/// How exactly a process's begin is known.
const TOLERANCE: Duration = Duration::from_secs(2);
/// How often it is looked whether a killed process has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// How much of a stranger's command is shown.
const SHOWN: usize = 60;

/// Who has the number in a pid file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody any more, or there is no file.
    Nobody,
    /// The machine.
    Machine(Pid),
    /// A process that Lima has nothing to do with.
    Stranger(Stranger),
}

/// A process that got the number of one that has crashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// The file that names it.
    pub(crate) file: PathBuf,
    /// Its number.
    pub(crate) pid: i32,
    /// Its command, shortened; empty where it isn't ours to see.
    pub(crate) command: String,
}

/// A process of a machine, known from others of its number.
#[derive(Debug)]
pub(crate) struct Living {
    pid: Pid,
    identity: String,
}

impl Living {
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        let identity = process::look(pid)?.identity;
        Some(Self { pid, identity })
    }

    fn lives(&self) -> bool {
        process::look(self.pid).is_some_and(|process| process.identity == self.identity)
    }
}

/// Kills what still lives of a machine's processes, and waits for their end.
///
/// # Errors
/// `Timeout`.
pub(crate) async fn end(mut processes: Vec<Living>, timeout: Duration) -> Result<()> {
    let begun = tokio::time::Instant::now();
    loop {
        processes.retain(Living::lives);
        let Some(first) = processes.first() else {
            return Ok(());
        };
        if begun.elapsed() > timeout {
            let message = format!("process {} doesn't end", first.pid.as_raw_nonzero());
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        for process in &processes {
            // It may have ended in this very moment.
            let _ = kill_process(process.pid, Signal::KILL);
        }
        // Nobody but its parent hears of a process's end.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who has the number in a pid file of a machine's directory.
pub(crate) fn holder(machine: &Path, file: &str) -> Holder {
    let path = machine.join(file);
    let number = fs::read_to_string(&path).ok();
    let number = number.and_then(|text| text.trim().parse().ok());
    let Some(pid) = number.and_then(Pid::from_raw) else {
        return Holder::Nobody;
    };
    let stranger = |command: String| {
        Holder::Stranger(Stranger {
            file: path.clone(),
            pid: pid.as_raw_nonzero().get(),
            command: command.chars().take(SHOWN).collect(),
        })
    };
    match test_kill_process(pid) {
        // A machine's processes are its user's.
        Err(rustix::io::Errno::PERM) => return stranger(String::new()),
        Err(_) => return Holder::Nobody,
        Ok(()) => {}
    }
    if answers(machine, file) {
        return Holder::Machine(pid);
    }
    let Some(process) = process::look(pid) else {
        return Holder::Nobody;
    };
    match names(&process.command, machine) || !began_after(process.started_at, &path) {
        true => Holder::Machine(pid),
        false => stranger(process.command),
    }
}

/// Whether the agent answers, which is proof enough where looking at processes takes a program.
fn answers(machine: &Path, file: &str) -> bool {
    cfg!(target_os = "macos")
        && file == AGENT
        && std::os::unix::net::UnixStream::connect(machine.join("ha.sock")).is_ok()
}

/// Whether a command names a machine's directory. Lima itself names it with links followed.
fn names(command: &str, machine: &Path) -> bool {
    let resolved = machine.canonicalize();
    let mut spelt = resolved.iter().map(PathBuf::as_path).chain([machine]);
    spelt.any(|path| command.contains(&format!("{}/", path.display())))
}

/// Whether a process began after a file was written. The one that it was written for didn't.
fn began_after(started_at: Timestamp, file: &Path) -> bool {
    let written = fs::metadata(file).and_then(|found| found.modified());
    let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
    written.is_some_and(|written| started_at > written.saturating_add(TOLERANCE).unwrap_or(written))
}

impl std::fmt::Display for Stranger {
    /// The end of a sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, pid, command } = self;
        write!(f, "{} names process {pid}", file.display())?;
        match command.is_empty() {
            true => write!(f, ", another user's"),
            false => write!(f, " (`{command}`), which isn't Lima's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};
    use std::time::SystemTime;

    /// A process that waits until it is killed.
    struct Waits(Child);

    impl Waits {
        fn new(argument: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "echo; read -r _", "sh", argument]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            // Until it runs it shows no arguments.
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

    impl Drop for Waits {
        fn drop(&mut self) {
            // It may be ended already.
            let _ = self.0.kill();
            self.0.wait().unwrap();
        }
    }

    fn write(machine: &Path, child: &Waits, age: u64) {
        let path = machine.join(AGENT);
        fs::write(&path, format!("{}\n", child.0.id())).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        let written = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(written).unwrap();
    }

    #[test]
    fn a_process_that_began_after_its_file_is_a_strangers() {
        let machine = tempfile::tempdir().unwrap();
        let machine = machine.path();
        assert_eq!(holder(machine, AGENT), Holder::Nobody);
        let child = Waits::new("anything");
        write(machine, &child, 0);
        assert!(matches!(holder(machine, AGENT), Holder::Machine(_)));
        write(machine, &child, 3600);
        let Holder::Stranger(stranger) = holder(machine, AGENT) else {
            panic!("it counts as the machine's");
        };
        assert_eq!(stranger.pid, i32::try_from(child.0.id()).unwrap());
        assert!(stranger.to_string().contains("read -r _"), "{stranger}");
        drop(child);
        assert_eq!(holder(machine, AGENT), Holder::Nobody);
    }

    #[tokio::test]
    async fn what_still_lives_is_ended_and_nobody_else() {
        let mut child = Waits::new("anything");
        let pid = Pid::from_raw(child.0.id().try_into().unwrap()).unwrap();
        let identity = "another boot".to_owned();
        end(vec![Living { pid, identity }], Duration::ZERO)
            .await
            .unwrap();
        assert!(child.0.try_wait().unwrap().is_none(), "it was killed");
        let living = Living::of(pid).unwrap();
        end(vec![living], Duration::from_secs(20)).await.unwrap();
        assert!(child.0.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_process_that_names_the_machine_is_its_own_whatever_the_clock_says() {
        let machine = tempfile::tempdir().unwrap();
        let argument = format!("--pidfile={}/ha.pid", machine.path().display());
        let child = Waits::new(&argument);
        write(machine.path(), &child, 3600);
        assert!(matches!(holder(machine.path(), AGENT), Holder::Machine(_)));
        // That of a machine whose name begins alike isn't.
        let other = machine.path().with_extension("x");
        assert!(!names(&argument, &other));
    }
}
