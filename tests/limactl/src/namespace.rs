//! Namespaces of guests, created and entered with system programs that an ordinary user may run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{signal, wait_for_end};
use crate::yaml::User;

/// In the scratch directory: host pid of the guest's first process.
pub(crate) const INIT: &str = "init.pid";
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// Maps the guest's user to this user, who owns mounted directories, and all other IDs to /etc/subuid.
fn user_namespace(command: &mut Command, user: &User) {
    command
        .args(["--user", "--map-auto", "--setuid", "0", "--setgid", "0"])
        .arg(format!("--map-user={}", user.uid))
        .arg(format!("--map-group={}", user.uid));
}

/// Runs a command as the guest's root on the host's files.
pub(crate) fn as_guest_root(user: &User) -> Command {
    let mut command = Command::new("unshare");
    user_namespace(&mut command, user);
    command.arg("--");
    command
}

/// This program as the first process of a guest. It dies with the driver.
pub(crate) fn guest(user: &User) -> Result<Command> {
    let program = own_program()?;
    let mut command = Command::new("unshare");
    user_namespace(&mut command, user);
    command
        .args(["--mount", "--pid", "--net", "--uts", "--ipc"])
        .args(["--fork", "--kill-child", "--propagation", "private", "--"])
        .arg(program)
        .env(crate::ROLE, "guest");
    Ok(command)
}

pub(crate) fn enter(init: u32) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--target={init}"))
        .args([
            "--user", "--mount", "--pid", "--net", "--uts", "--ipc", "--",
        ])
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
    command
}

/// Kills the first process of a guest without an agent; the kernel kills the others.
pub(crate) fn end_guest(scratch: &Path) {
    let text = std::fs::read_to_string(scratch.join(INIT)).unwrap_or_default();
    let Ok(pid) = text.parse::<u32>() else { return };
    // The pid may be reused.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim() == "limactl" {
        signal(pid, rustix::process::Signal::KILL);
        wait_for_end(&[pid], KILL_TIMEOUT);
    }
}

pub(crate) fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}
