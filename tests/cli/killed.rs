//! SIGKILL in the middle of an operation, on a real engine.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Workspace, kill_at_step};

/// Starts a command and kills it when it says that it is at a step.
pub(crate) fn kill_at(workspace: &Workspace, arguments: &[&str], step: &str) -> Result<()> {
    kill_at_step(workspace.command(arguments)?, step)
}

pub fn create_is_taken_back(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let before = workspace.file()?;
    let image = image();
    let create = ["container", "create", "dev", &image];
    for step in ["making", "starting", "setting up", "taking the snapshot"] {
        kill_at(&workspace, &create, step)?;
        let listed = workspace.run(&["list"])?;
        ensure!(
            listed.stderr.contains("an interrupted create of `dev`"),
            "{step}: {listed:?}"
        );
        // Any change mends first; this one then finds nothing to stop.
        let next = workspace.run(&["down", "dev"])?;
        let finished = workspace.file()?.contains("initial-state");
        if finished {
            // Killed between the last write and the end: everything was done.
            ensure!(next.stderr.contains("was finished"), "{step}: {next:?}");
            workspace.ok(&["remove", "dev", "-f"])?;
            continue;
        }
        ensure!(
            next.stderr.contains("taken back") || next.stderr.contains("dropped"),
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

pub fn reset_is_finished(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    for step in ["stopping", "restoring", "starting"] {
        in_the_env(&workspace, &["touch", "later"]).with_context(|| format!("before {step}"))?;
        kill_at(&workspace, &["container", "reset", "dev"], step)?;
        let next = workspace.run(&["up", "dev"])?;
        if next.code != Some(0) {
            // The killed command's last request came late, and stopped it once more.
            let late = next.stderr.contains("is not running");
            ensure!(late, "{step}: {next:?}");
        }
        // Before it was stopped nothing was changed; after that it is set back.
        let dropped = next
            .stderr
            .contains("an interrupted restore of `dev` was dropped");
        let finished = next
            .stderr
            .contains("an interrupted restore of `dev` was finished");
        ensure!(dropped || finished, "{step}: {next:?}");
        ensure!(finished || step != "restoring", "{step}: {next:?}");
        let left = in_the_env(&workspace, &["ls"]).with_context(|| format!("after {step}"))?;
        ensure!(
            left.contains("later") == dropped,
            "{step}: {left}; {next:?}"
        );
    }
    Ok(())
}

/// What a command in the env prints. The engine may act on a killed command's last request only
/// when all is mended: then the env is down once more (or on its way there), and is started again.
fn in_the_env(workspace: &Workspace, command: &[&str]) -> Result<String> {
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
    anyhow::bail!("no command runs in the env: {seen:?}")
}

/// Whether the env is there as a whole, or gone as a whole.
fn is_there(workspace: &Workspace, at: &str) -> Result<bool> {
    let listed = workspace.ok(&["list"])?;
    let instance = format!("{}-dev", workspace.project);
    let there = workspace.instances()?.contains(&instance);
    ensure!(there == listed.contains("RUNNING"), "{at}: {listed}");
    ensure!(
        there == workspace.file()?.contains("dev:"),
        "{at}: {}",
        workspace.file()?
    );
    Ok(there)
}

pub fn removal_is_done_or_taken_back(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    for step in ["stopping", "keeping"] {
        kill_at(&workspace, &["remove", "dev", "-f"], step)?;
        // Any change mends first; whether there is still something to do depends on the moment.
        let next = workspace.run(&["undo"])?;
        ensure!(
            next.stderr.contains("an interrupted removal of `dev`"),
            "{step}: {next:?}"
        );
        ensure!(is_there(&workspace, step)?, "{step}: {next:?}");
        ensure!(
            workspace.file()? == before,
            "{step}: {before:?}, now {:?}; {next:?}",
            workspace.file()?
        );
    }
    Ok(())
}

pub fn undo_of_a_removal_is_finished(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    workspace.ok(&["remove", "dev", "-f"])?;
    ensure!(!is_there(&workspace, "removed")?, "it is still there");
    kill_at(&workspace, &["undo"], "bringing it back")?;
    let next = workspace.run(&["up", "dev"])?;
    ensure!(next.code == Some(0), "{next:?}");
    ensure!(
        next.stderr
            .contains("an interrupted undo of `dev` was finished"),
        "{next:?}"
    );
    ensure!(is_there(&workspace, "undone")?, "it isn't there");
    ensure!(workspace.file()? == before, "{}", workspace.file()?);
    Ok(())
}
