//! The guest: the first process in its namespaces. It unpacks the disk, makes that its root, boots as Lima's images do, and
//! then reaps until it is told to end. With it the kernel ends everything in the guest.

mod accounts;
mod boot;
mod root;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, wait,
};
use serde::{Deserialize, Serialize};

use crate::yaml::{Mount, Provision, User};

/// How long processes have after SIGTERM.
const TERM: Duration = Duration::from_secs(3);
/// Exists while the disk is to be frozen.
const FREEZE: &str = "/run/freeze";
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What the host agent says first, in one line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) hostname: String,
    pub(crate) instance_id: String,
    pub(crate) disk: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) user: User,
    pub(crate) keys: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) provision: Vec<Provision>,
    pub(crate) param: BTreeMap<String, String>,
    /// Where the agent is the virtual machine itself.
    pub(crate) dies_with_agent: bool,
    pub(crate) boot_delay: Duration,
    pub(crate) boot_hangs: bool,
    /// Whether its disk can be frozen.
    pub(crate) freezes: bool,
}

/// What the agent is told, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// Of this process, as the host sees it.
    Pid(u32),
    /// From now on sshd can be run here.
    Reachable,
    /// Of the boot's log.
    Line(String),
    /// It will never be reachable.
    Failed(String),
    /// All scripts have ended.
    Booted(i32),
    /// The disk is to be what the guest has now.
    Freeze,
}

fn tell(told: &Told) {
    let Ok(line) = serde_json::to_string(told) else {
        return;
    };
    let mut out = std::io::stdout().lock();
    // An agent that was killed hears nothing; the guest goes on.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

pub(crate) fn run() -> Result<ExitCode> {
    // `unshare --kill-child` has asked for this as well, but changing its user has undone it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut input = BufReader::new(std::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let spec: Spec = serde_json::from_str(&line)?;
    // Still the host's /proc, which knows this process by the host's number.
    let own = std::fs::read_link("/proc/self").context("no /proc")?;
    tell(&Told::Pid(own.to_string_lossy().parse()?));
    let dies_with_agent = spec.dies_with_agent;
    std::thread::spawn(move || obey(input, dies_with_agent));
    let booted = root::enter(&spec).and_then(|()| boot::boot(&spec));
    if spec.freezes {
        std::thread::spawn(|| freeze());
    }
    if let Err(error) = booted {
        tell(&Told::Failed(format!("{error:#}")));
    }
    reap()
}

/// Has the disk written when a process in the guest asks for it.
fn freeze() -> ! {
    let mut asked = false;
    loop {
        let asks = Path::new(FREEZE).exists();
        if asks && !asked {
            tell(&Told::Freeze);
        }
        asked = asks;
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits for every child, whoever's it was.
fn reap() -> Result<ExitCode> {
    loop {
        // Without children there is nothing to wait for, until a session enters.
        if wait(WaitOptions::empty()).is_err() {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Waits for one child; others that end meanwhile are reaped too.
fn wait_for(child: &Child) -> i32 {
    let wanted = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == wanted => {
                return status.exit_status().unwrap_or(255);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 255,
        }
    }
}

/// What the agent says, until it ends or this does.
fn obey(input: impl BufRead, dies_with_agent: bool) {
    for line in input.lines().map_while(Result::ok) {
        match line.as_str() {
            "poweroff" => {
                end_processes();
                std::process::exit(0);
            }
            // Who has asked may be gone.
            "frozen" => drop(std::fs::write(FREEZE.to_owned() + "/done", "")),
            "not frozen" => drop(std::fs::write(FREEZE.to_owned() + "/failed", "")),
            _ => {}
        }
    }
    if dies_with_agent {
        std::process::exit(1);
    }
}

/// As a shutdown does: asks everybody, and waits a while.
fn end_processes() {
    for pid in processes() {
        let _ = kill_process(pid, Signal::TERM);
    }
    let until = Instant::now() + TERM;
    while Instant::now() < until && !processes().is_empty() {
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Every other process of the guest that lives.
fn processes() -> Vec<Pid> {
    let alive = |path: &Path| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        !matches!(state, Some('Z' | 'X') | None)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_string_lossy().parse().ok()?;
            (pid != 1 && alive(&entry.path())).then(|| Pid::from_raw(pid))?
        })
        .collect()
}
