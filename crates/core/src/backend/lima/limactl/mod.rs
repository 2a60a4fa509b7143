//! The program `limactl`: how it is found, called and read.
//!
//! Lima 2.2 prints lists as NDJSON on stdout and messages as `level=… msg="…"` on stderr; any failure is exit code 1.
//! It refuses root, finds helpers by PATH, and may write to its current directory, so it gets a private, empty one.
//! The host agents that it starts have their own process groups; a cancelled call is killed with its group only.

pub(crate) mod calls;
pub(crate) mod list;
pub(crate) mod messages;

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;
use calls::RunningCalls;

/// The oldest supported version.
const MIN_VERSION: (u32, u32) = (2, 1);
/// Where package managers install it; programs started by a desktop don't have these in their PATH.
const INSTALL_DIRS: [&str; 5] = [
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/opt/local/bin",
    ".nix-profile/bin",
    "/run/current-system/sw/bin",
];
/// For calls that change nothing.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_OUTPUT_BYTES: u64 = 16 << 20;
/// Last lines of stderr kept for an error message.
const TAIL_LINES: usize = 40;

/// The program and its environment.
pub(crate) struct Limactl {
    program: Option<PathBuf>,
    /// `LIMA_HOME`.
    home: PathBuf,
    /// Its working directory.
    empty: PathBuf,
    path: Option<OsString>,
    version: OnceCell<String>,
}

pub(crate) struct Call<'a> {
    /// Arguments after the global ones.
    pub(crate) arguments: Vec<&'a OsStr>,
    /// The machine that is changed.
    pub(crate) machine: Option<&'a InstanceName>,
    pub(crate) timeout: Duration,
    /// Receives its messages.
    pub(crate) progress: Option<&'a Progress>,
    pub(crate) cancel: Option<&'a CancellationToken>,
}

impl<'a> Call<'a> {
    /// A call without progress and cancellation.
    pub(crate) fn new(arguments: &[&'a str], timeout: Duration) -> Self {
        Self {
            arguments: arguments.iter().map(|word| OsStr::new(*word)).collect(),
            machine: None,
            timeout,
            progress: None,
            cancel: None,
        }
    }

    /// A call that changes a machine: `COMMAND… NAME`.
    pub(crate) fn change(kind: &[&'a str], machine: &'a InstanceName, timeout: Duration) -> Self {
        let mut call = Self::new(kind, timeout);
        call.arguments.push(OsStr::new(machine.as_str()));
        call.machine = Some(machine);
        call
    }
}

/// Output and exit status of a call.
pub(crate) struct CallOutput {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// The last lines of stderr.
    pub(crate) lines: Vec<String>,
}

impl CallOutput {
    /// Lima's reason for a failure.
    pub(crate) fn reason(&self) -> String {
        messages::reason(&self.lines)
    }
}

impl Limactl {
    /// Uses the program at `named`, or the first one in PATH or the directories of package managers. Runs nothing.
    pub(crate) fn find(
        named: Option<PathBuf>,
        path: Option<OsString>,
        user_home: Option<&Path>,
        home: PathBuf,
        empty: PathBuf,
    ) -> Self {
        let program = named.or_else(|| {
            let searched: Vec<PathBuf> = path.iter().flat_map(std::env::split_paths).collect();
            let directories = INSTALL_DIRS.iter().filter_map(|directory| match user_home {
                Some(user) => Some(user.join(directory)),
                None => directory.starts_with('/').then(|| PathBuf::from(directory)),
            });
            let searched = searched
                .into_iter()
                .filter(|directory| directory.is_absolute());
            let mut all = searched
                .chain(directories)
                .map(|directory| directory.join("limactl"));
            all.find(|file| is_program(file))
        });
        Self {
            program,
            home,
            empty,
            path,
            version: OnceCell::new(),
        }
    }

    /// Its path, if it is installed.
    pub(crate) fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// `LIMA_HOME`.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Its version, as `2.2.0`; queried once.
    ///
    /// # Errors
    /// `Unreachable` if it is missing or fails; `Unsupported` if it is too old, and for root.
    pub(crate) async fn version(&self) -> Result<&str> {
        let version = self.version.get_or_try_init(|| self.query_version()).await;
        version.map(String::as_str)
    }

    async fn query_version(&self) -> Result<String> {
        if self.program.is_none() {
            return Err(not_installed());
        }
        if rustix::process::geteuid().is_root() {
            return Err(
                Error::new(ErrorKind::Unsupported, "Lima does not run as root")
                    .with_hint("run this command as a normal user, without sudo"),
            );
        }
        let output = self
            .run_any(&Call::new(&["--version"], QUERY_TIMEOUT))
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().next_back().unwrap_or_default();
        let Some(number) = parse_version(version).filter(|_| output.status.success()) else {
            let message = format!("cannot read the version of {}", self.named());
            return Err(Error::new(ErrorKind::Unreachable, message).with_hint(INSTALL));
        };
        if number < MIN_VERSION {
            let message = format!(
                "limactl {version} is too old: expected {}.{} or newer",
                MIN_VERSION.0, MIN_VERSION.1
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(
                "run `brew upgrade lima`, or see https://lima-vm.io/docs/installation",
            ));
        }
        Ok(version.trim_start_matches('v').to_owned())
    }

    fn named(&self) -> String {
        self.program.as_ref().map_or_else(
            || "limactl".to_owned(),
            |program| program.display().to_string(),
        )
    }

    /// Runs a call to its end; any exit code is a result.
    ///
    /// # Errors
    /// As for [`Limactl::version`]; `Timeout` and `Cancelled`, after its processes have ended.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<CallOutput> {
        self.version().await?;
        self.run_any(call).await
    }

    /// Like [`Limactl::run`], but fails unless the call succeeds.
    ///
    /// # Errors
    /// As for [`Limactl::run`]; `Engine` with Lima's reason.
    pub(crate) async fn succeed(&self, call: &Call<'_>) -> Result<CallOutput> {
        let output = self.run(call).await?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(failure(&output))
        }
    }

    fn command(&self, call: &Call<'_>) -> Result<Command> {
        let program = self.program.as_ref().ok_or_else(not_installed)?;
        crate::home::create_private_directory(&self.empty)?;
        let mut command = Command::new(program);
        // To find ssh, qemu and its own helpers.
        let own_directory = program.parent().map(Path::to_path_buf);
        let searched = self.path.iter().flat_map(std::env::split_paths);
        let defaults = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        let all = own_directory.into_iter().chain(searched).chain(defaults);
        if let Ok(path) = std::env::join_paths(all) {
            command.env("PATH", path);
        }
        command
            .arg("--tty=false")
            .args(&call.arguments)
            .env("LIMA_HOME", &self.home)
            // Set by launchd; Lima's daemons would take themselves for services.
            .env_remove("XPC_SERVICE_NAME")
            .current_dir(&self.empty)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    async fn run_any(&self, call: &Call<'_>) -> Result<CallOutput> {
        let mut command = self.command(call)?;
        let mut child = command.spawn().map_err(|error| {
            let message = format!("cannot run {}", self.named());
            let error = Error::new(ErrorKind::Unreachable, message).caused_by(error);
            error.with_hint(INSTALL)
        })?;
        let group = ProcessGroup::of(&child);
        let changed = call.machine.zip(group.0);
        let _marker = changed.map(|(machine, process)| self.calls().mark(machine, process));
        let never = CancellationToken::new();
        let cancel = call.cancel.unwrap_or(&never);
        let command_name = call.arguments.first().map(|word| word.to_string_lossy());
        let command_name = command_name.unwrap_or_default().into_owned();
        tokio::select! {
            output = collect_output(&mut child, call.progress) => {
                group.release();
                output.map_err(|error| {
                    let message = format!("cannot read the output of limactl {command_name}");
                    Error::io(message, error)
                })
            }
            () = cancel.cancelled() => {
                drop(group);
                // Reaped before the error is returned.
                let _ = child.wait().await;
                Err(Error::new(ErrorKind::Cancelled, "cancelled by the user"))
            }
            () = tokio::time::sleep(call.timeout) => {
                drop(group);
                let _ = child.wait().await;
                let waited = call.timeout.as_secs();
                let message = format!("limactl {command_name} timed out after {waited} s");
                Err(Error::new(ErrorKind::Timeout, message)
                    .with_hint("check whether `limactl list` responds"))
            }
        }
    }
}

impl Limactl {
    /// The running calls that change machines.
    pub(crate) fn calls(&self) -> RunningCalls {
        RunningCalls::new(&self.home.join(super::state_dir::STATE_DIR))
    }
}

/// Error if Lima is not installed.
pub(crate) fn not_installed() -> Error {
    Error::new(ErrorKind::Unreachable, "limactl was not found").with_hint(INSTALL)
}

const INSTALL: &str = "run `brew install lima`, or see https://lima-vm.io/docs/installation";

/// Error for a failed call.
pub(crate) fn failure(output: &CallOutput) -> Error {
    let reason = output.reason();
    let message = match output.status.signal() {
        Some(signal) => format!("limactl was killed by signal {signal}: {reason}"),
        None => format!("Lima: {reason}"),
    };
    let error = Error::new(ErrorKind::Engine, message);
    if crate::backend::is_full(&reason) {
        error.with_hint(super::errors::VOLUME_FULL_HINT)
    } else {
        error
    }
}

/// A call's process group; killed when dropped.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads both streams to their ends, then waits. A host agent left running inherits neither of them.
async fn collect_output(
    child: &mut Child,
    progress: Option<&Progress>,
) -> std::io::Result<CallOutput> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, lines) = tokio::try_join!(read_bytes(stdout), read_lines(stderr, progress))?;
    Ok(CallOutput {
        status: child.wait().await?,
        stdout,
        lines,
    })
}

async fn read_bytes(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream
            .take(MAX_OUTPUT_BYTES)
            .read_to_end(&mut bytes)
            .await?;
    }
    Ok(bytes)
}

async fn read_lines(
    stream: Option<impl AsyncRead + Unpin>,
    progress: Option<&Progress>,
) -> std::io::Result<Vec<String>> {
    let mut tail = std::collections::VecDeque::with_capacity(TAIL_LINES);
    let Some(stream) = stream else {
        return Ok(Vec::new());
    };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let (Some(progress), Some(message)) = (progress, messages::progress_message(&line)) {
            progress.step(message, None);
        }
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    Ok(tail.into())
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Major and minor of `2.2.0`, `v2.1.0-rc.1` or `2.2.0-12-gabcdef`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_by_number() {
        for (text, expected) in [
            ("2.2.0", Some((2, 2))),
            ("v2.10.0-rc.1", Some((2, 10))),
            ("1.0.7-3-gabcdef", Some((1, 0))),
            ("HEAD", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
        assert!(parse_version("2.0.3") < Some(MIN_VERSION));
        assert!(parse_version("2.10.0") > Some(MIN_VERSION));
    }

    #[test]
    fn finds_program_without_path() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".nix-profile/bin");
        std::fs::create_dir_all(&directory).unwrap();
        let program = directory.join("limactl");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let find = || {
            let (lima, empty) = (home.path().join(".lima"), home.path().into());
            let found = Limactl::find(None, None, Some(home.path()), lima, empty);
            found.program().map(Path::to_path_buf)
        };
        // Not executable.
        assert_ne!(find().as_deref(), Some(program.as_path()));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let is_installed = INSTALL_DIRS.iter().any(|directory| {
            directory.starts_with('/') && is_program(&Path::new(directory).join("limactl"))
        });
        assert!(is_installed || find().as_deref() == Some(program.as_path()));
    }
}
