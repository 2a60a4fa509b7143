//! `setup:` and `env:` of the project file.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::Workspace;

fn with(engine: &TestEngine, below: &str) -> Result<Workspace> {
    let workspace = Workspace::new(engine)?;
    let text = format!(
        "project: {}\ncontainers:\n  dev:\n    image: {}\n{below}",
        workspace.project,
        image()
    );
    std::fs::write(workspace.directory().join("containers.yaml"), text)?;
    Ok(workspace)
}

pub fn setup_runs_once_as_user(engine: &TestEngine) -> Result<()> {
    let workspace = with(
        engine,
        "    setup: |\n      echo I am $(id -un)\n      date +%N >>ran\n",
    )?;
    let ran = workspace.run(&["up"])?;
    ensure!(ran.code == Some(0), "{ran:?}");
    ensure!(ran.stderr.contains("| I am dev\n"), "{ran:?}");
    workspace.ok(&["container", "reset", "dev"])?;
    let lines = workspace.ok(&["exec", "dev", "--", "wc", "-l", "ran"])?;
    ensure!(lines == "1 ran\n", "not part of `initial-state`: {lines}");
    Ok(())
}

pub fn failed_setup_fails_create(engine: &TestEngine) -> Result<()> {
    let workspace = with(
        engine,
        "    setup: touch before; echo no such thing >&2; exit 3\n",
    )?;
    let before = workspace.file()?;
    let failed = workspace.run(&["container", "create", "dev"])?;
    ensure!(failed.code == Some(3), "{failed:?}");
    ensure!(failed.stderr.contains("exit code 3"), "{failed:?}");
    ensure!(failed.stderr.contains("no such thing"), "{failed:?}");
    ensure!(workspace.instances()?.is_empty(), "instance left over");
    ensure!(workspace.file()? == before, "the file was changed");
    let kept = workspace.run(&["container", "create", "dev", "--keep"])?;
    ensure!(kept.code == Some(3), "{kept:?}");
    ensure!(kept.stderr.contains("lxc-dev-manager ssh dev"), "{kept:?}");
    workspace.ok(&["exec", "dev", "--", "test", "-e", "before"])?;
    let snapshots = workspace.ok(&["container", "snapshot", "list", "dev"])?;
    ensure!(!snapshots.contains("initial-state"), "{snapshots}");
    Ok(())
}

pub fn host_variables_are_passed(engine: &TestEngine) -> Result<()> {
    let workspace = with(engine, "    env: [LDM_T_TOKEN, LDM_T_UNSET]\n")?;
    workspace.ok(&["trust"])?;
    workspace.ok(&["up"])?;
    let mut command = workspace.command(&["exec", "dev", "--", "env"])?;
    command
        .env("LDM_T_TOKEN", "a b$(id)'")
        .env("LDM_T_OTHER", "no");
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("LDM_T_TOKEN=a b$(id)'\n"), "{text}");
    ensure!(
        !text.contains("LDM_T_OTHER") && !text.contains("LDM_T_UNSET"),
        "{text}"
    );
    // A login shell has them too, although `su` resets the environment.
    let mut command = workspace.command(&["ssh", "dev"])?;
    command
        .env("LDM_T_TOKEN", "a b$(id)'")
        .stdin(Stdio::piped());
    let mut child = command.spawn()?;
    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(b"env; pwd\n")?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("LDM_T_TOKEN=a b$(id)'\n"), "{output:?}");
    ensure!(text.ends_with("/home/dev\n"), "{output:?}");
    Ok(())
}
