//! SIGKILL of the engine during an operation.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::workspace::Workspace;
use serde_json::Value;

use crate::daemon::{Daemon, IMAGE};

/// Runs a command and kills the engine when the command reports a step. Returns exit code and stderr.
fn kill_engine_at(
    daemon: &Daemon,
    workspace: &Workspace,
    arguments: &[&str],
    step: &str,
) -> Result<(Option<i32>, String)> {
    let mut child = workspace.command(arguments)?.spawn()?;
    let lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    let (mut seen, mut killed) = (String::new(), false);
    for line in lines {
        let line = line?;
        seen.push_str(&line);
        seen.push('\n');
        if !killed && line.starts_with(step) {
            killed = true;
            daemon.restart()?;
        }
    }
    ensure!(killed, "{arguments:?} never reached {step:?}: {seen}");
    Ok((child.wait()?.code(), seen))
}

/// Checks that project file and engine have the same envs.
fn ensure_whole(workspace: &Workspace, at: &str) -> Result<()> {
    let list: Value = serde_json::from_str(&workspace.ok(&["list", "--json"])?)?;
    let envs = list["envs"].as_array().context("no envs")?;
    for env in envs {
        ensure!(env["status"] == "running", "{at}: {env}");
        ensure!(
            !env["snapshots"].as_array().is_none_or(Vec::is_empty),
            "{at}: {env}"
        );
    }
    let instances = workspace.instances()?;
    ensure!(instances.len() == envs.len(), "{at}: {instances:?} {list}");
    Ok(())
}

pub(crate) fn killed_engine_during_an_operation(daemon: &Daemon) -> Result<()> {
    let workspace = Workspace::new(&daemon.engine)?;
    workspace.ok(&["container", "create", "dev", IMAGE])?;
    workspace.ok(&["exec", "dev", "--", "touch", "mine"])?;
    workspace.ok(&["container", "snapshot", "create", "dev", "first"])?;
    let create = ["container", "create", "two", IMAGE];
    let clone = ["container", "clone", "dev", "two"];
    let snapshot = ["container", "snapshot", "create", "dev", "second"];
    let reset = ["container", "reset", "dev", "first"];
    for (arguments, step) in [
        (&create[..], "creating instance"),
        (&create, "starting instance"),
        (&create, "setting up user"),
        (&clone, "copying"),
        (&clone, "starting instance"),
        (&snapshot, "taking"),
        (&reset, "keeping"),
        (&reset, "restoring"),
        (&reset, "starting instance"),
    ] {
        let at = format!("{} at {step:?}", arguments[..2].join(" "));
        let (code, seen) = kill_engine_at(daemon, &workspace, arguments, step)?;
        ensure!(code == Some(3) || code == Some(0), "{at}: {code:?} {seen}");
        // The next change recovers and reports it.
        let next = workspace.run(&["up", "dev"])?;
        ensure!(next.code == Some(0), "{at}: {seen}; {next:?}");
        let open = code == Some(3) && !seen.contains("rolling back");
        ensure!(
            !open || next.stderr.contains("an interrupted"),
            "{at}: {seen}; {next:?}"
        );
        ensure!(
            workspace.run(&["list"])?.stderr.is_empty(),
            "{at}: leftovers"
        );
        ensure_whole(&workspace, &at)?;
        workspace.ok(&["exec", "dev", "--", "test", "-e", "mine"])?;
        // Make the operation possible again.
        if workspace.file()?.contains("two:") {
            workspace.ok(&["remove", "-f", "two"])?;
            workspace.ok(&["gc", "--all", "-f"])?;
        }
        if workspace.file()?.contains("second:") {
            workspace.ok(&["container", "snapshot", "delete", "-f", "dev", "second"])?;
        }
    }
    workspace.ok(&create)?;
    workspace.ok(&snapshot).map(drop)
}
