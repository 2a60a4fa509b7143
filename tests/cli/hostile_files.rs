//! Foreign project files: nothing reaches the host without consent.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::terminal::Terminal;
use lxc_dev_manager_tests::workspace::{Ran, Workspace};

/// A project with an env `dev` that has these lines.
fn cloned(engine: &TestEngine, below: &str) -> Result<Workspace> {
    let workspace = Workspace::bare(engine)?;
    fs::create_dir_all(workspace.root.path().join("home"))?;
    write(&workspace, below)?;
    Ok(workspace)
}

fn write(workspace: &Workspace, below: &str) -> Result<()> {
    let (project, image) = (&workspace.project, image());
    let text = format!("project: {project}\ncontainers:\n  dev:\n    image: {image}\n{below}");
    Ok(fs::write(
        workspace.directory().join("containers.yaml"),
        text,
    )?)
}

fn on_terminal(workspace: &Workspace, arguments: &[&str]) -> Result<Terminal> {
    let mut command = workspace.command(arguments)?;
    command.env("TERM", "dumb");
    Terminal::start(command)
}

fn ensure_refused(ran: &Ran, words: &[&str]) -> Result<()> {
    ensure!(ran.code == Some(1), "{ran:#?}");
    for words in words {
        ensure!(ran.stderr.contains(words), "no {words:?}: {ran:#?}");
    }
    Ok(())
}

pub fn cloned_file_does_not_write_the_home(engine: &TestEngine) -> Result<()> {
    let steals = "    setup: echo stolen >>/h/.bashrc\n    mounts:\n";
    let workspace = cloned(
        engine,
        &format!("{steals}    - {{host: \"~\", guest: /h}}\n"),
    )?;
    let bashrc = workspace.root.path().join("home/.bashrc");
    fs::write(&bashrc, "mine\n")?;
    let words = [
        "is not trusted: it mounts",
        "at /h, writable, in `dev`",
        "`lxc-dev-manager trust`",
    ];
    for arguments in [
        &["up"][..],
        &["container", "create", "dev"],
        &["config", "apply"],
    ] {
        ensure_refused(&workspace.run(arguments)?, &words)?;
    }
    // Nor is the file's own word taken for it, for any directory.
    let forced = "    - {host: /, guest: /h, force: true}\n";
    write(&workspace, &format!("{steals}{forced}"))?;
    ensure_refused(
        &workspace.run(&["up"])?,
        &["is not trusted: it mounts / at /h"],
    )?;
    ensure_refused(&workspace.run(&["trust"])?, &["mounts / at /h", "--force"])?;
    let (code, seen) = on_terminal(&workspace, &["up"])?.end()?;
    ensure!(code == Some(1) && !seen.contains("[y/N]"), "{seen}");
    // Nothing of it is in the tray.
    let listed = workspace.run(&["list"])?;
    ensure!(listed.code == Some(0), "{listed:#?}");
    ensure!(
        listed.stdout.contains("is not trusted: it mounts / at /h"),
        "{listed:#?}"
    );
    let known = workspace.home().join("projects.json");
    ensure!(
        !fs::read_to_string(known)
            .unwrap_or_default()
            .contains("dev")
    );
    ensure!(workspace.instances()?.is_empty(), "an instance was created");
    ensure!(fs::read_to_string(bashrc)? == "mine\n");
    Ok(())
}

pub fn consent_is_asked_for_and_again_after_a_change(engine: &TestEngine) -> Result<()> {
    let workspace = cloned(engine, "    env: [TOKEN]\n")?;
    // Creation uses the settings of the whole file, and asks.
    let mut asked = on_terminal(&workspace, &["up"])?;
    asked.until("[y/N]")?;
    ensure!(
        asked.seen.contains("passes on the variable TOKEN in `dev`"),
        "{}",
        asked.seen
    );
    asked.say("n")?;
    let (code, seen) = asked.end()?;
    ensure!(
        code == Some(1) && workspace.instances()?.is_empty(),
        "{seen}"
    );
    let mut asked = on_terminal(&workspace, &["up"])?;
    asked.until("[y/N]")?;
    asked.say("y")?;
    let (code, seen) = asked.end()?;
    ensure!(code == Some(0), "{seen}");
    let shown = workspace.ok(&["trust", "--show"])?;
    ensure!(
        shown == "passes on the variable TOKEN in `dev` (trusted)\n",
        "{shown}"
    );
    // Our own changes of the file need no new consent; others do.
    workspace.ok(&["container", "clone", "dev", "copy"])?;
    workspace.ok(&["exec", "copy", "--", "true"])?;
    let text = workspace.file()?.replace("[TOKEN]", "[TOKEN, AWS_SECRET]");
    fs::write(workspace.directory().join("containers.yaml"), text)?;
    let ran = workspace.run(&["exec", "dev", "--", "true"])?;
    ensure!(ran.code == Some(125), "{ran:#?}");
    ensure!(
        ran.stderr.contains("the variable AWS_SECRET in"),
        "{ran:#?}"
    );
    ensure!(!ran.stderr.contains("TOKEN in"), "{ran:#?}");
    workspace.ok(&["trust"])?;
    workspace.ok(&["exec", "dev", "--", "true"])?;
    workspace.ok(&["untrust"])?;
    ensure_refused(
        &workspace.run(&["config", "apply"])?,
        &["the variable TOKEN"],
    )?;
    // What doesn't use it goes on.
    workspace.ok(&["down", "dev"])?;
    workspace.ok(&["remove", "dev", "copy", "-f"])?;
    Ok(())
}

pub fn script_outside_the_project_is_asked_about(engine: &TestEngine) -> Result<()> {
    let workspace = cloned(engine, "    setup: ./link.sh\n")?;
    let outside = workspace.root.path().join("secret.sh");
    fs::write(&outside, "echo it ran\n")?;
    std::os::unix::fs::symlink(&outside, workspace.directory().join("link.sh"))?;
    let words = format!("runs the script {}", outside.canonicalize()?.display());
    ensure_refused(&workspace.run(&["up"])?, &[&words])?;
    workspace.ok(&["trust", "--force"])?;
    let ran = workspace.run(&["up"])?;
    ensure!(
        ran.code == Some(0) && ran.stderr.contains("| it ran"),
        "{ran:#?}"
    );
    Ok(())
}

pub fn file_that_others_can_change_is_refused(engine: &TestEngine) -> Result<()> {
    let workspace = cloned(engine, "")?;
    let file = workspace.directory().join("containers.yaml");
    for path in [&file, &workspace.directory()] {
        let mode = fs::metadata(path)?.permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(mode.mode() | 0o002))?;
        ensure_refused(
            &workspace.run(&["up"])?,
            &["can be changed by every user", "chmod o-w"],
        )?;
        fs::set_permissions(path, mode)?;
    }
    if rustix::process::geteuid().is_root() {
        for path in [&file, &workspace.directory()] {
            chown(path, Some(12345), None)?;
            ensure_refused(
                &workspace.run(&["list"])?,
                &["belongs to another user (uid 12345)"],
            )?;
            // The user who called sudo.
            let mut command = workspace.command(&["list"])?;
            command.env("SUDO_UID", "12345");
            let output = command.output()?;
            ensure!(output.status.success(), "{output:?}");
            chown(path, Some(0), None)?;
        }
    }
    workspace.ok(&["list"]).map(drop)
}
