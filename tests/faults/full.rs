//! A full pool.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::workspace::Workspace;
use serde_json::Value;

use crate::daemon::{Daemon, IMAGE};

/// Enough to free deleted blocks on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Checks an error for a full pool: its kind, from engine or guest, and its hint.
fn ensure_full(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let arguments = [&["--json"], arguments].concat();
    let ran = workspace.run(&arguments)?;
    ensure!(ran.code == Some(3), "{arguments:?}: {ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last)?;
    let error = &error["error"];
    ensure!(
        error["kind"] == "engine" || error["kind"] == "guest",
        "{error}"
    );
    let hint = error["hint"].as_str().unwrap_or_default();
    ensure!(hint.contains("gc --all"), "{arguments:?}: {error}");
    Ok(())
}

pub(crate) fn full_pool_is_reported_and_nothing_is_lost(daemon: &Daemon) -> Result<()> {
    let workspace = Workspace::new(&daemon.engine)?;
    workspace.ok(&["container", "create", "dev", IMAGE])?;
    workspace.ok(&["exec", "dev", "--", "sh", "-c", "echo mine >note"])?;
    let before = workspace.file()?;
    // Each dd ends when the pool is full; the next one uses blocks that were freed meanwhile.
    let fill = "for n in 1 2 3; do dd if=/dev/urandom of=fill$n bs=64k 2>/dev/null; sync; done";
    workspace.run(&["exec", "dev", "--", "sh", "-c", fill])?;
    ensure_full(&workspace, &["container", "create", "two", IMAGE])?;
    ensure!(workspace.file()? == before, "{}", workspace.file()?);
    let instances = workspace.instances()?;
    ensure!(instances.len() == 1, "{instances:?}");
    // Operations that share blocks may succeed.
    for arguments in [
        &["container", "clone", "dev", "three"][..],
        &["container", "snapshot", "create", "dev", "full"],
        &["image", "create", "dev", "full-image"],
    ] {
        let ran = workspace.run(arguments)?;
        if ran.code != Some(0) {
            ensure_full(&workspace, arguments)?;
        }
        let left = std::fs::read_dir(workspace.home().join("journal"))?.count();
        ensure!(left == 0, "{arguments:?}: {left} journals, {ran:?}");
        let list = workspace.ok(&["list"])?;
        ensure!(list.contains("RUNNING"), "{arguments:?}: {list}");
    }
    let note = workspace.ok(&["exec", "dev", "--", "cat", "note"])?;
    ensure!(note == "mine\n", "{note:?}");
    // The user can free space.
    workspace.ok(&["exec", "dev", "--", "sh", "-c", "rm -f fill*; sync"])?;
    if workspace.file()?.contains("three:") {
        workspace.ok(&["remove", "-f", "three"])?;
    }
    if workspace.file()?.contains("full:") {
        workspace.ok(&["container", "snapshot", "delete", "-f", "dev", "full"])?;
    }
    workspace.ok(&["gc", "--all", "-f"])?;
    workspace.run(&["image", "delete", "-f", "full-image"])?;
    // btrfs frees deleted blocks up to half a minute later, without an event.
    let begun = Instant::now();
    loop {
        let ran = workspace.run(&["container", "create", "two", IMAGE])?;
        if ran.code == Some(0) {
            return Ok(());
        }
        ensure!(begun.elapsed() < TIMEOUT, "still no space: {ran:?}");
    }
}
