//! The guest: the first process in its namespaces. It unpacks the disk, changes its root, boots like Lima's images and
//! reaps processes until the shutdown. When it exits, the kernel kills all others.

mod accounts;
mod boot;
mod root;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, wait,
};
use serde::{Deserialize, Serialize};

use crate::process::{POLL_INTERVAL, is_alive};
use crate::yaml::{Mount, Provision, User};

/// Delay between SIGTERM and SIGKILL.
const TERM_TIMEOUT: Duration = Duration::from_secs(3);
/// Exists while the disk is to be frozen.
const FREEZE: &str = "/run/freeze";

/// First line from the host agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) hostname: String,
    pub(crate) disk: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) user: User,
    pub(crate) key: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) provision: Vec<Provision>,
    pub(crate) boot_delay: Duration,
    pub(crate) freezes: bool,
}

/// A line to the host agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum GuestMessage {
    /// Host pid of this process.
    Pid(u32),
    /// sshd can be started.
    Reachable,
    Failed(String),
    /// All scripts have ended.
    Booted,
    /// Request to pack the disk.
    Freeze,
}

fn send(message: &GuestMessage) {
    // Fails if the agent was killed; the guest continues.
    let _ = serde_json::to_string(message).map(|line| writeln!(std::io::stdout(), "{line}"));
}

pub(crate) fn run() -> Result<()> {
    // Again, because changing the user has reset the setting of `unshare --kill-child`.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut input = BufReader::new(std::io::stdin());
    let mut line = String::new();
    input.read_line(&mut line)?;
    let spec: Spec = serde_json::from_str(&line)?;
    // /proc is still the host's, with host pids.
    let own = std::fs::read_link("/proc/self").context("no /proc")?;
    send(&GuestMessage::Pid(own.to_string_lossy().parse()?));
    std::thread::spawn(move || handle_requests(input));
    let booted = root::enter(&spec).and_then(|()| boot::boot(&spec));
    if spec.freezes {
        std::thread::spawn(|| watch_freezes());
    }
    if let Err(error) = booted {
        send(&GuestMessage::Failed(format!("{error:#}")));
    }
    loop {
        // There may be no children.
        if wait(WaitOptions::empty()).is_err() {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Requests a pack for each `fsfreeze` in the guest.
fn watch_freezes() -> ! {
    let mut was_requested = false;
    loop {
        let is_requested = Path::new(FREEZE).exists();
        if is_requested && !was_requested {
            send(&GuestMessage::Freeze);
        }
        was_requested = is_requested;
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits for one child, and reaps others meanwhile.
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

/// Handles the agent's lines until the agent ends; the guest continues.
fn handle_requests(input: impl BufRead) {
    for line in input.lines().map_while(Result::ok) {
        match line.as_str() {
            "poweroff" => {
                end_processes();
                std::process::exit(0);
            }
            // Fails if the requesting process has ended.
            "frozen" => drop(std::fs::write(FREEZE.to_owned() + "/done", "")),
            "not frozen" => drop(std::fs::write(FREEZE.to_owned() + "/failed", "")),
            _ => {}
        }
    }
}

fn end_processes() {
    for pid in processes() {
        let _ = kill_process(pid, Signal::TERM);
    }
    let until = Instant::now() + TERM_TIMEOUT;
    while Instant::now() < until && !processes().is_empty() {
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// All other live processes of the guest.
fn processes() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != 1 && is_alive(pid))
        .filter_map(|pid| Pid::from_raw(pid.try_into().ok()?))
        .collect()
}
