//! The program `limactl`: where it is, how it is called, and what it says.
//!
//! Facts of Lima 2.2: lists are NDJSON on stdout, all words for people are lines of `level=… msg="…"` on
//! stderr, and any failure is exit code 1. It refuses root, finds helpers by PATH, and writes to its
//! current directory in some cases: so it gets a private, empty one. What it starts for a machine (the
//! host agent) is in a process group of its own and outlives it; a call that is given up is killed with
//! its own group only.

pub(crate) mod calls;
pub(crate) mod list;
pub(crate) mod messages;
pub(crate) mod version_cache;

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
use crate::backend::lima::limactl::calls::Calls;
use crate::backend::lima::limactl::version_cache::Known;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// The oldest version that does what we ask of it.
const OLDEST: (u32, u32) = (2, 1);
/// Where package managers put it; a program started by a desktop has none of them in its PATH.
const PLACES: [&str; 5] = [
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/opt/local/bin",
    ".nix-profile/bin",
    "/run/current-system/sw/bin",
];
/// How long a question may take.
pub(crate) const ASK_PATIENCE: Duration = Duration::from_secs(20);
/// More output than any answer has.
const OUTPUT_LIMIT: u64 = 16 << 20;
/// How many of its last lines are kept for a message.
const KEPT_LINES: usize = 40;

/// How to call the program.
pub(crate) struct Limactl {
    program: Option<PathBuf>,
    /// `LIMA_HOME`: where the machines are.
    home: PathBuf,
    /// A directory of ours, in which it runs.
    empty: PathBuf,
    path: Option<OsString>,
    version: OnceCell<String>,
}

/// One call.
pub(crate) struct Call<'a> {
    /// Arguments after the global ones.
    pub(crate) arguments: Vec<&'a OsStr>,
    /// The machine that it changes.
    pub(crate) machine: Option<&'a InstanceName>,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// Hears its words for people.
    pub(crate) progress: Option<&'a Progress>,
    /// Ends it.
    pub(crate) cancel: Option<&'a CancellationToken>,
}

impl<'a> Call<'a> {
    /// A call without progress and cancelling.
    pub(crate) fn new(arguments: &[&'a str], timeout: Duration) -> Self {
        Self {
            arguments: arguments.iter().map(|word| OsStr::new(*word)).collect(),
            machine: None,
            timeout,
            progress: None,
            cancel: None,
        }
    }

    /// A call that changes a machine: `VERB… NAME`.
    pub(crate) fn change(kind: &[&'a str], machine: &'a InstanceName, timeout: Duration) -> Self {
        let mut call = Self::new(kind, timeout);
        call.arguments.push(OsStr::new(machine.as_str()));
        call.machine = Some(machine);
        call
    }
}

/// What it printed, and how it ended.
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    /// Its last words for people.
    pub(crate) lines: Vec<String>,
}

impl Answer {
    /// The reason that it gives for a failure.
    pub(crate) fn reason(&self) -> String {
        messages::reason(&self.lines)
    }
}

impl Limactl {
    /// The program at `named`, else the first in the PATH or in the places where package managers put it.
    /// Nothing is started.
    pub(crate) fn find(
        named: Option<PathBuf>,
        path: Option<OsString>,
        user_home: Option<&Path>,
        home: PathBuf,
        empty: PathBuf,
    ) -> Self {
        let program = named.or_else(|| {
            let searched: Vec<PathBuf> = path.iter().flat_map(std::env::split_paths).collect();
            let places = PLACES.iter().filter_map(|place| match user_home {
                Some(user) => Some(user.join(place)),
                None => place.starts_with('/').then(|| PathBuf::from(place)),
            });
            let searched = searched
                .into_iter()
                .filter(|directory| directory.is_absolute());
            let mut all = searched
                .chain(places)
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

    /// Where it is, if it is anywhere.
    pub(crate) fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// `LIMA_HOME`.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Its version, `2.2.0`, asked once.
    ///
    /// # Errors
    /// `Unreachable` where there is none or it doesn't answer; `Unsupported` for one that is too old,
    /// and for root.
    pub(crate) async fn version(&self) -> Result<&str> {
        let asked = self.version.get_or_try_init(|| self.ask_version()).await;
        asked.map(String::as_str)
    }

    async fn ask_version(&self) -> Result<String> {
        if self.program.is_none() {
            return Err(absent());
        }
        if rustix::process::geteuid().is_root() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "Lima refuses to run as root: its machines belong to a user",
            )
            .with_hint("run this as yourself, without sudo"));
        }
        let known = self.program.as_deref().and_then(Known::of);
        let told = known.as_ref().and_then(|known| known.told(&self.home));
        if let Some(told) = told.filter(|told| parse_version(told) >= Some(OLDEST)) {
            return Ok(told);
        }
        let answer = self
            .run_any(&Call::new(&["--version"], ASK_PATIENCE))
            .await?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let version = text.split_whitespace().next_back().unwrap_or_default();
        let Some(number) = parse_version(version).filter(|_| answer.status.success()) else {
            let message = format!("{} doesn't tell its version", self.named());
            return Err(Error::new(ErrorKind::Unreachable, message).with_hint(INSTALL));
        };
        if number < OLDEST {
            let message = format!(
                "limactl {version} is too old: {}.{} is the oldest that does all that envs need",
                OLDEST.0, OLDEST.1
            );
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("`brew upgrade lima`, or https://lima-vm.io/docs/installation"));
        }
        let version = version.trim_start_matches('v').to_owned();
        if let Some(known) = known {
            known.keep(&self.home, &version);
        }
        Ok(version)
    }

    fn named(&self) -> String {
        self.program.as_ref().map_or_else(
            || "limactl".to_owned(),
            |program| program.display().to_string(),
        )
    }

    /// Runs it to its end; any exit code is an answer.
    ///
    /// # Errors
    /// Those of [`Limactl::version`]; `Timeout` and `Cancelled`, with nothing of it left running.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Answer> {
        self.version().await?;
        self.run_any(call).await
    }

    /// The same; anything but success is an error with its reason.
    ///
    /// # Errors
    /// Those of [`Limactl::run`]; `Engine` with what it says.
    pub(crate) async fn succeed(&self, call: &Call<'_>) -> Result<Answer> {
        let answer = self.run(call).await?;
        match answer.status.success() {
            true => Ok(answer),
            false => Err(failure(&answer)),
        }
    }

    fn command(&self, call: &Call<'_>) -> Result<Command> {
        let program = self.program.as_ref().ok_or_else(absent)?;
        crate::backend::lima::snapshots::make_directory(&self.empty)?;
        let mut command = Command::new(program);
        // It finds ssh, qemu and its own helpers there.
        let beside = program.parent().map(Path::to_path_buf);
        let searched = self.path.iter().flat_map(std::env::split_paths);
        let defaults = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        let all = beside.into_iter().chain(searched).chain(defaults);
        if let Ok(path) = std::env::join_paths(all) {
            command.env("PATH", path);
        }
        command
            .arg("--tty=false")
            .args(&call.arguments)
            .env("LIMA_HOME", &self.home)
            // Set for what launchd starts; it makes Lima's daemons believe that they are services.
            .env_remove("XPC_SERVICE_NAME")
            .current_dir(&self.empty)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    async fn run_any(&self, call: &Call<'_>) -> Result<Answer> {
        let mut command = self.command(call)?;
        let mut child = command.spawn().map_err(|error| {
            let message = format!("{} can't be started", self.named());
            let error = Error::new(ErrorKind::Unreachable, message).caused_by(error);
            error.with_hint(INSTALL)
        })?;
        let group = Group::of(&child);
        let changed = call.machine.zip(group.0);
        let _note = changed.map(|(machine, process)| self.calls().note(machine, process));
        let never = CancellationToken::new();
        let cancel = call.cancel.unwrap_or(&never);
        let what = call.arguments.first().map(|word| word.to_string_lossy());
        let what = what.unwrap_or_default().into_owned();
        tokio::select! {
            answer = attend(&mut child, call.progress) => {
                group.let_go();
                answer.map_err(|error| Error::io(format!("limactl {what} can't be heard"), error))
            }
            () = cancel.cancelled() => {
                drop(group);
                // Reaped, so that it is gone when we say so.
                let _ = child.wait().await;
                Err(Error::new(ErrorKind::Cancelled, "stopped by the user"))
            }
            () = tokio::time::sleep(call.timeout) => {
                drop(group);
                let _ = child.wait().await;
                let waited = call.timeout.as_secs();
                let message = format!("limactl {what} gave no answer within {waited} s");
                Err(Error::new(ErrorKind::Timeout, message)
                    .with_hint("see whether `limactl list` answers"))
            }
        }
    }
}

impl Limactl {
    /// Who works on which machine.
    pub(crate) fn calls(&self) -> Calls {
        Calls::of(&self.home.join(crate::backend::lima::OURS))
    }
}

/// What to say where there is no Lima.
pub(crate) fn absent() -> Error {
    Error::new(ErrorKind::Unreachable, "limactl isn't there").with_hint(INSTALL)
}

const INSTALL: &str =
    "install Lima: `brew install lima`, or see https://lima-vm.io/docs/installation";

/// What a failed call says.
pub(crate) fn failure(answer: &Answer) -> Error {
    let reason = answer.reason();
    let message = match answer.status.signal() {
        Some(signal) => format!("limactl was ended by signal {signal}; its last words: {reason}"),
        None => format!("Lima: {reason}"),
    };
    let error = Error::new(ErrorKind::Engine, message);
    match crate::backend::is_full(&reason) {
        true => error.with_hint(crate::backend::lima::FULL_HINT),
        false => error,
    }
}

/// A call's process group: killed when it is dropped before its end.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended in this very moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads both streams to their ends, then waits. A host agent that it leaves behind has neither of them.
async fn attend(child: &mut Child, progress: Option<&Progress>) -> std::io::Result<Answer> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, lines) = tokio::try_join!(whole(stdout), heard(stderr, progress))?;
    Ok(Answer {
        status: child.wait().await?,
        stdout,
        lines,
    })
}

async fn whole(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

async fn heard(
    stream: Option<impl AsyncRead + Unpin>,
    progress: Option<&Progress>,
) -> std::io::Result<Vec<String>> {
    let mut kept = std::collections::VecDeque::with_capacity(KEPT_LINES);
    let Some(stream) = stream else {
        return Ok(Vec::new());
    };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let (Some(progress), Some(said)) = (progress, messages::said(&line)) {
            progress.step(said, None);
        }
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    Ok(kept.into())
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
    fn versions_are_compared_by_number() {
        for (text, expected) in [
            ("2.2.0", Some((2, 2))),
            ("v2.10.0-rc.1", Some((2, 10))),
            ("1.0.7-3-gabcdef", Some((1, 0))),
            ("HEAD", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
        assert!(parse_version("2.0.3") < Some(OLDEST));
        assert!(parse_version("2.10.0") > Some(OLDEST));
    }

    #[test]
    fn it_is_found_without_a_path() {
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
        // A file that can't be run is none.
        assert_ne!(find().as_deref(), Some(program.as_path()));
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let elsewhere = PLACES
            .iter()
            .any(|place| place.starts_with('/') && is_program(&Path::new(place).join("limactl")));
        assert!(elsewhere || find().as_deref() == Some(program.as_path()));
    }
}
