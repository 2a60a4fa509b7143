//! SIGKILL during operations on a real engine.

use std::time::Duration;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Ran, Workspace, apart, kill_at_step};

/// More than an engine needs to read a request.
const UNREAD: Duration = Duration::from_secs(1);

/// Starts a command and kills it at a step. Its last request may still be unread: only after that does the engine list
/// it, so that recovery can wait for it.
pub(crate) fn kill_at(workspace: &Workspace, arguments: &[&str], step: &str) -> Result<()> {
    kill_at_step(workspace.command(arguments)?, step)?;
    std::thread::sleep(UNREAD);
    Ok(())
}

/// Waits until the engine has done what a killed command requested for an env. Recovery does so only for the env of the
/// next command, and skips other busy ones after two seconds.
pub(crate) fn settle(workspace: &Workspace, env: &str) -> Result<()> {
    let backend = workspace.engine().backend();
    let instance = format!("{}-{env}", workspace.project).parse()?;
    apart(async move { backend.settle(&instance).await })??;
    Ok(())
}

/// Checks that recovery before `up dev` ended and started the env, which `up` then only found.
pub(crate) fn ensure_recovered_by(workspace: &Workspace, up: &Ran) -> Result<()> {
    ensure!(up.code == Some(0), "{up:?}");
    ensure!(up.stdout.contains("dev is already running"), "{up:?}");
    ensure!(journals(workspace)? == 0, "{up:?}");
    Ok(())
}

pub(crate) fn journals(workspace: &Workspace) -> Result<usize> {
    Ok(std::fs::read_dir(workspace.home().join("journal"))?.count())
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
        ensure!(journals(&workspace)? == 0, "{step}: {next:?}");
        let said = |outcome: &str| {
            let notice = format!("an interrupted create of `dev` was {outcome}");
            next.stderr.contains(&notice)
        };
        let finished = workspace.file()?.contains("initial-state");
        if finished {
            // Killed after the last write: complete.
            ensure!(step == "taking snapshot", "{step}: {next:?}");
            ensure!(said("completed"), "{step}: {next:?}");
            ensure!(next.code == Some(0), "{step}: {next:?}");
            workspace.ok(&["remove", "dev", "-f"])?;
            continue;
        }
        // Killed before or after the request for the instance.
        let nothing = step == "creating" && said("dropped: nothing was created");
        ensure!(nothing || said("rolled back"), "{step}: {next:?}");
        ensure!(next.code == Some(1), "{step}: {next:?}");
        ensure!(next.stderr.contains("no env `dev`"), "{step}: {next:?}");
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
        workspace.ok(&["exec", "dev", "--", "touch", "later"])?;
        kill_at(&workspace, &["container", "reset", "dev"], step)?;
        let next = workspace.run(&["up", "dev"])?;
        ensure_recovered_by(&workspace, &next)?;
        // Dropped before the stop, completed after it.
        let dropped = next
            .stderr
            .contains("an interrupted restore of `dev` was dropped");
        let finished = next
            .stderr
            .contains("an interrupted restore of `dev` was completed");
        ensure!(dropped != finished, "{step}: {next:?}");
        ensure!(finished || step == "stopping", "{step}: {next:?}");
        let left = workspace.ok(&["exec", "dev", "--", "ls"])?;
        ensure!(
            left.contains("later") == dropped,
            "{step}: {left}; {next:?}"
        );
    }
    Ok(())
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
        settle(&workspace, "dev")?;
        // Any operation recovers first; this one then undoes a completed removal.
        let next = workspace.run(&["undo"])?;
        let completed = is_completed_removal(&next, "dev")?;
        ensure_undone(&next, completed)?;
        ensure!(journals(&workspace)? == 0, "{step}: {next:?}");
        ensure!(exists(&workspace, step)?, "{step}: {next:?}");
        ensure!(
            workspace.file()? == before,
            "{step}: {before:?}, now {:?}; {next:?}",
            workspace.file()?
        );
    }
    Ok(())
}

/// Whether recovery completed the removal of an env, or rolled it back.
pub(crate) fn is_completed_removal(next: &Ran, env: &str) -> Result<bool> {
    let said = |outcome: &str| {
        let notice = format!("an interrupted removal of `{env}` was {outcome}");
        next.stderr.contains(&notice)
    };
    let completed = said("completed (can be undone)");
    ensure!(completed != said("rolled back"), "{next:?}");
    Ok(completed)
}

/// Checks that an `undo` had something to undo, or nothing.
pub(crate) fn ensure_undone(undo: &Ran, undone: bool) -> Result<()> {
    let code = if undone { 0 } else { 1 };
    ensure!(undo.code == Some(code), "{undo:?}");
    let nothing = undo.stderr.contains("nothing to undo");
    ensure!(nothing != undone, "{undo:?}");
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
    ensure_recovered_by(&workspace, &next)?;
    ensure!(
        next.stderr
            .contains("an interrupted undo of `dev` was completed"),
        "{next:?}"
    );
    ensure!(exists(&workspace, "undone")?, "env does not exist");
    ensure!(workspace.file()? == before, "{}", workspace.file()?);
    Ok(())
}
