//! SIGKILL during operations on a real engine.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Workspace, kill_at_step};

/// Starts a command and kills it at a step.
pub(crate) fn kill_at(workspace: &Workspace, arguments: &[&str], step: &str) -> Result<()> {
    kill_at_step(workspace.command(arguments)?, step)
}

pub fn killed_create_is_rolled_back(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let before = workspace.file()?;
    let image = image();
    let create = ["container", "create", "dev", &image];
    for step in ["creating", "starting", "setting up", "taking snapshot"] {
        kill_at(&workspace, &create, step)?;
        let listed = workspace.run(&["list"])?;
        ensure!(
            listed.stderr.contains("an interrupted create of `dev`"),
            "{step}: {listed:?}"
        );
        // Any operation recovers first; this one then has nothing to stop.
        let next = workspace.run(&["down", "dev"])?;
        let finished = workspace.file()?.contains("initial-state");
        if finished {
            // Killed after the last write: complete.
            ensure!(next.stderr.contains("was completed"), "{step}: {next:?}");
            workspace.ok(&["remove", "dev", "-f"])?;
            continue;
        }
        ensure!(
            next.stderr.contains("rolled back") || next.stderr.contains("dropped"),
            "{step}: {next:?}"
        );
        ensure!(
            workspace.instances()?.is_empty(),
            "{step}: {:?}",
            workspace.instances()?
        );
        ensure!(workspace.file()? == before, "{step}: {}", workspace.file()?);
    }
    workspace.create("dev").map(drop)
}

pub fn killed_reset_is_completed(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    for step in ["stopping", "restoring", "starting"] {
        run_in_env(&workspace, &["touch", "later"]).with_context(|| format!("before {step}"))?;
        kill_at(&workspace, &["container", "reset", "dev"], step)?;
        let next = workspace.run(&["up", "dev"])?;
        if next.code != Some(0) {
            // The killed command's last request was executed late and stopped the env again.
            let late = next.stderr.contains("is not running");
            ensure!(late, "{step}: {next:?}");
        }
        // Dropped before the stop, completed after it.
        let dropped = next
            .stderr
            .contains("an interrupted restore of `dev` was dropped");
        let finished = next
            .stderr
            .contains("an interrupted restore of `dev` was completed");
        ensure!(dropped || finished, "{step}: {next:?}");
        ensure!(finished || step != "restoring", "{step}: {next:?}");
        let left = run_in_env(&workspace, &["ls"]).with_context(|| format!("after {step}"))?;
        ensure!(
            left.contains("later") == dropped,
            "{step}: {left}; {next:?}"
        );
    }
    Ok(())
}

/// Runs a command in the env. The engine may execute the killed command's last request after recovery and stop the
/// env again, so it is restarted as needed.
fn run_in_env(workspace: &Workspace, command: &[&str]) -> Result<String> {
    let mut seen = Vec::new();
    for _late in 0..4 {
        let up = workspace.run(&["up", "dev"])?;
        let ran = workspace.run(&[&["exec", "dev", "--"], command].concat())?;
        if up.code == Some(0) && ran.code == Some(0) {
            return Ok(ran.stdout);
        }
        seen.extend([up, ran]);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    anyhow::bail!("cannot run commands in the env: {seen:?}")
}

/// Whether the env exists. Fails if it exists only in part.
fn exists(workspace: &Workspace, at: &str) -> Result<bool> {
    let listed = workspace.ok(&["list"])?;
    let instance = format!("{}-dev", workspace.project);
    let exists = workspace.instances()?.contains(&instance);
    ensure!(exists == listed.contains("RUNNING"), "{at}: {listed}");
    ensure!(
        exists == workspace.file()?.contains("dev:"),
        "{at}: {}",
        workspace.file()?
    );
    Ok(exists)
}

pub fn killed_removal_is_completed_or_rolled_back(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    for step in ["stopping", "keeping"] {
        kill_at(&workspace, &["remove", "dev", "-f"], step)?;
        // Any operation recovers first; whether there is something left to undo depends on timing.
        let next = workspace.run(&["undo"])?;
        ensure!(
            next.stderr.contains("an interrupted removal of `dev`"),
            "{step}: {next:?}"
        );
        ensure!(exists(&workspace, step)?, "{step}: {next:?}");
        ensure!(
            workspace.file()? == before,
            "{step}: {before:?}, now {:?}; {next:?}",
            workspace.file()?
        );
    }
    Ok(())
}

pub fn killed_undo_is_completed(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    workspace.ok(&["remove", "dev", "-f"])?;
    ensure!(!exists(&workspace, "removed")?, "env still exists");
    kill_at(&workspace, &["undo"], "restoring removed env")?;
    let next = workspace.run(&["up", "dev"])?;
    ensure!(next.code == Some(0), "{next:?}");
    ensure!(
        next.stderr
            .contains("an interrupted undo of `dev` was completed"),
        "{next:?}"
    );
    ensure!(exists(&workspace, "undone")?, "env does not exist");
    ensure!(workspace.file()? == before, "{}", workspace.file()?);
    Ok(())
}
