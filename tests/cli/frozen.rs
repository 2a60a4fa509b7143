//! An env frozen with the engine's own tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

/// Sends a request to the engine's API.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<serde_json::Value> {
    let output = Command::new("curl")
        .args(["-sS", "-X", method, "-d", body, "--unix-socket"])
        .arg(socket)
        .arg(format!("http://engine{path}"))
        .output()
        .context("cannot run curl")?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn freeze(workspace: &Workspace) -> Result<()> {
    let socket = &workspace.engine().socket;
    let instance = format!("{}-dev", workspace.project);
    let path = format!("/1.0/instances/{instance}/state");
    let begun = ask(socket, "PUT", &path, r#"{"action":"freeze"}"#)?;
    let operation = begun["operation"].as_str().context("no operation")?;
    let ended = ask(socket, "GET", &format!("{operation}/wait"), "")?;
    ensure!(ended["metadata"]["status_code"] == 200, "{ended}");
    let listed = workspace.ok(&["list"])?;
    ensure!(listed.contains("FROZEN"), "{listed}");
    Ok(())
}

fn ensure_running(workspace: &Workspace) -> Result<()> {
    let listed = workspace.ok(&["list"])?;
    ensure!(listed.contains("RUNNING"), "{listed}");
    workspace.ok(&["exec", "dev", "--", "true"]).map(drop)
}

pub fn commands_thaw_a_frozen_env(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    freeze(&workspace)?;
    let entered = workspace.run(&["exec", "dev", "--", "true"])?;
    ensure!(entered.code == Some(125), "{entered:?}");
    ensure!(entered.stderr.contains("`dev` is frozen"), "{entered:?}");
    workspace.ok(&["up", "dev"])?;
    ensure_running(&workspace)?;

    freeze(&workspace)?;
    workspace.ok(&["down", "dev"])?;
    workspace.ok(&["up", "dev"])?;

    freeze(&workspace)?;
    workspace.ok(&["container", "reset", "dev"])?;
    ensure_running(&workspace)?;

    freeze(&workspace)?;
    workspace.ok(&["remove", "dev", "-f"])?;
    workspace.ok(&["undo"])?;
    ensure_running(&workspace)
}
