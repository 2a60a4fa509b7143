//! What the stand-in is told to do wrong, and the log of its calls. `main.rs` says how.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::home::Home;

const VERSION: &str = "2.2.0";

/// The variables that a call's log carries.
const TOLD: &[&str] = &[
    "PATH",
    "HOME",
    "LIMA_HOME",
    "LIMA_SHELL",
    "SSH",
    "XPC_SERVICE_NAME",
    "TERM",
];

/// The lines of the file `faults`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    lines: Vec<Vec<String>>,
    control: PathBuf,
}

impl Faults {
    pub(crate) fn read(home: &Home) -> Self {
        let control = home.control();
        let text = std::fs::read_to_string(control.join("faults")).unwrap_or_default();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        let lines = text
            .lines()
            .map(words)
            .filter(|words: &Vec<String>| !words.is_empty())
            .collect();
        Self { lines, control }
    }

    /// What follows the words, where a line begins with them.
    fn find(&self, words: &[&str]) -> Option<&[String]> {
        let line = self.lines.iter().find(|line| {
            line.len() >= words.len() && line.iter().zip(words).all(|(a, b)| a == b)
        })?;
        Some(&line[words.len()..])
    }

    pub(crate) fn version(&self) -> &str {
        self.find(&["version"])
            .and_then(|rest| rest.first())
            .map_or(VERSION, String::as_str)
    }

    pub(crate) fn allows_vz(&self) -> bool {
        self.find(&["vz"]).is_some()
    }

    /// The beginning of a command: where it hangs, is slow, or writes rubbish.
    pub(crate) fn begin(&self, command: &str) {
        if self
            .find(&["hang", command])
            .is_some_and(<[String]>::is_empty)
        {
            self.hang(command, "begin");
        }
        if let Some(millis) = self.number(&["slow", command]) {
            std::thread::sleep(Duration::from_millis(millis));
        }
        if self.find(&["rubbish", command]).is_some() {
            let _ = writeln!(std::io::stdout(), "\u{1b}[31m<<not json>>\u{1b}[0m {{");
        }
        if self.find(&["warn", command]).is_some() {
            let _ = writeln!(
                std::io::stdout(),
                "time=\"2026-01-01T00:00:00Z\" level=warning msg=\"something deprecated\""
            );
        }
        self.point(command, "begin");
    }

    /// Dies here, as if killed, where it was told to.
    pub(crate) fn point(&self, command: &str, point: &str) {
        if self.find(&["die", command, point]).is_some() {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            std::process::abort();
        }
        if self.find(&["hang", command, point]).is_some() {
            self.hang(command, point);
        }
    }

    /// Stops for ever, and says that it has come so far.
    fn hang(&self, command: &str, point: &str) -> ! {
        let told = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.control.join("hung"))
            .and_then(|mut file| writeln!(file, "{command} {point} {}", std::process::id()));
        if let Err(error) = told {
            let _ = writeln!(
                std::io::stderr(),
                "limactl: hangs, and can't say so: {error}"
            );
        }
        loop {
            std::thread::park();
        }
    }

    /// Whether it is told to stop in the middle of a command, which then has to come there.
    pub(crate) fn dies_half(&self, command: &str) -> bool {
        self.find(&["die", command, "half"]).is_some()
            || self.find(&["hang", command, "half"]).is_some()
    }

    /// Fails as a write to a full disk does.
    pub(crate) fn disk(&self, command: &str, path: &std::path::Path) -> Result<()> {
        if self.find(&["full", command]).is_some() {
            bail!("write {}: no space left on device", path.display());
        }
        Ok(())
    }

    fn number(&self, words: &[&str]) -> Option<u64> {
        self.find(words)?.first()?.parse().ok()
    }

    /// Whether this start is one of the first that lose their port of SSH.
    pub(crate) fn loses_port(&self) -> bool {
        let Some(times) = self.number(&["taken", "port"]) else {
            return false;
        };
        let path = self.control.join("taken");
        let before = std::fs::metadata(&path).map_or(0, |file| file.len());
        let told = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(b"."));
        before < times && told.is_ok()
    }

    /// How much longer than usual a guest takes to boot.
    pub(crate) fn boot_delay(&self) -> Duration {
        Duration::from_millis(self.number(&["slow", "boot"]).unwrap_or(0))
    }

    /// Whether the guest never comes up.
    pub(crate) fn boot_hangs(&self) -> bool {
        self.find(&["hang", "boot"]).is_some()
    }

    /// Whether guests know the file systems of mounts.
    pub(crate) fn mounts(&self) -> bool {
        self.find(&["no", "mounts"]).is_none()
    }

    /// Whether guests can freeze their disks.
    pub(crate) fn freezes(&self) -> bool {
        self.find(&["no", "freeze"]).is_none()
    }

    /// Writes a call down, where the log is wanted: its file is there.
    pub(crate) fn log_call(&self, args: &[String]) {
        let path = self.control.join("calls.jsonl");
        let Ok(mut file) = OpenOptions::new().append(true).open(path) else {
            return;
        };
        let environment: serde_json::Map<_, _> = TOLD
            .iter()
            .filter_map(|&name| Some((name.to_owned(), json!(std::env::var(name).ok()?))))
            .collect();
        let call = json!({
            "args": args,
            "cwd": std::env::current_dir().ok(),
            "env": environment,
            "pid": std::process::id(),
        });
        // One write a line: calls may run at the same time.
        let _ = file.write_all(format!("{call}\n").as_bytes());
    }
}

/// Whether a version is at least another one; what is no version is the newest.
pub(crate) fn version_at_least(version: &str, wanted: &str) -> bool {
    let parts = |text: &str| -> Option<Vec<u64>> {
        let core = text.trim_start_matches('v').split(['-', '+']).next()?;
        core.split('.').map(|part| part.parse().ok()).collect()
    };
    match (parts(version), parts(wanted)) {
        (Some(version), Some(wanted)) => version >= wanted,
        _ => true,
    }
}
