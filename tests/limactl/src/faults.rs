//! Simulated faults and the log of calls; see `main.rs`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;

use crate::home::Home;

const VERSION: &str = "2.2.0";

pub(crate) struct Faults {
    lines: Vec<String>,
    control: PathBuf,
}

impl Faults {
    pub(crate) fn read(home: &Home) -> Self {
        let control = home.control();
        let text = std::fs::read_to_string(control.join("faults")).unwrap_or_default();
        let lines = text.lines().map(str::to_owned).collect();
        Self { lines, control }
    }

    fn has(&self, fault: &str) -> bool {
        self.lines.iter().any(|line| line == fault)
    }

    /// Rest of the first line with this prefix.
    fn value(&self, words: &str) -> Option<&str> {
        let mut lines = self.lines.iter();
        lines.find_map(|line| line.strip_prefix(words)?.strip_prefix(' '))
    }

    fn number(&self, words: &str) -> Option<u64> {
        self.value(words)?.parse().ok()
    }

    pub(crate) fn begin(&self, command: &str) {
        if self.has(&format!("hang {command}")) {
            self.hang(command, "begin");
        }
        self.point(command, "begin");
        let mut out = std::io::stdout();
        if self.has(&format!("rubbish {command}")) {
            let _ = writeln!(out, "\u{1b}[31m<<not json>>\u{1b}[0m {{");
        }
        if self.has(&format!("warn {command}")) {
            let _ = writeln!(out, "level=warning msg=\"something deprecated\"");
        }
    }

    /// Whether a command hangs or dies at this point.
    pub(crate) fn has_point(&self, command: &str, point: &str) -> bool {
        ["die", "hang"]
            .iter()
            .any(|fault| self.has(&format!("{fault} {command} {point}")))
    }

    /// Hangs or dies at this point if a fault requires it.
    pub(crate) fn point(&self, command: &str, point: &str) {
        if self.has(&format!("die {command} {point}")) {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        if self.has(&format!("hang {command} {point}")) {
            self.hang(command, point);
        }
    }

    fn hang(&self, command: &str, point: &str) -> ! {
        let pid = std::process::id();
        self.append("hung", &format!("{command} {point} {pid}\n"));
        loop {
            std::thread::park();
        }
    }

    /// A single write, because processes append concurrently.
    fn append(&self, file: &str, text: &str) {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.control.join(file));
        // A waiting test fails then.
        let _ = file.and_then(|mut file| file.write_all(text.as_bytes()));
    }

    /// Fails as on a full volume.
    pub(crate) fn disk(&self, command: &str, path: &Path) -> Result<()> {
        if self.has(&format!("full {command}")) {
            bail!("write {}: no space left on device", path.display());
        }
        Ok(())
    }

    pub(crate) fn version(&self) -> &str {
        self.value("version").unwrap_or(VERSION)
    }

    /// Whether the SSH port is in use at this start.
    pub(crate) fn loses_port(&self) -> bool {
        let Some(times) = self.number("taken port") else {
            return false;
        };
        let before = std::fs::metadata(self.control.join("taken")).map_or(0, |file| file.len());
        self.append("taken", ".");
        before < times
    }

    pub(crate) fn boot_delay(&self) -> Duration {
        Duration::from_millis(self.number("slow boot").unwrap_or(0))
    }

    /// Whether guests get their mounts.
    pub(crate) fn mounts(&self) -> bool {
        !self.has("no mounts")
    }

    /// Whether guests can freeze their disks.
    pub(crate) fn freezes(&self) -> bool {
        !self.has("no freeze")
    }

    pub(crate) fn log_call(&self, args: &[String]) {
        if self.control.join("calls.jsonl").exists() {
            let call = json!({
                "args": args,
                "cwd": std::env::current_dir().ok(),
                "service": std::env::var("XPC_SERVICE_NAME").ok(),
                "pid": std::process::id(),
            });
            self.append("calls.jsonl", &format!("{call}\n"));
        }
    }
}
