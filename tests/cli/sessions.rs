//! Terminal sessions: whoever stops the env below them is asked.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::terminal::{Terminal, follows_size};
use lxc_dev_manager_tests::workspace::Workspace;

fn on_terminal(workspace: &Workspace, arguments: &[&str]) -> Result<Terminal> {
    let mut command = workspace.command(arguments)?;
    command.env("TERM", "dumb");
    Terminal::start(command)
}

/// A session in `dev` in which somebody has begun to work.
fn session(workspace: &Workspace, arguments: &[&str]) -> Result<Terminal> {
    let mut session = on_terminal(workspace, arguments)?;
    // The terminal repeats what is typed, so the word must not be in there.
    session.say("echo at\"\"work")?;
    session.until("atwork")?;
    Ok(session)
}

fn sessions(workspace: &Workspace) -> Result<(String, u64)> {
    let list: serde_json::Value = serde_json::from_str(&workspace.ok(&["list", "--json"])?)?;
    let env = &list["envs"][0];
    let open = env["sessions"].as_u64().unwrap_or_default();
    Ok((env["status"].as_str().unwrap_or_default().to_owned(), open))
}

pub fn who_stops_an_env_is_asked_where_one_is_open(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let mut shell = session(&workspace, &["ssh", "dev"])?;
    ensure!(sessions(&workspace)? == ("running".to_owned(), 1));
    for command in ["down", "restart"] {
        let mut asked = on_terminal(&workspace, &[command, "dev"])?;
        asked.until("[y/N]")?;
        asked.say("n")?;
        let (code, seen) = asked.end()?;
        ensure!(code == Some(1), "{command}: {seen}");
        ensure!(seen.contains("a terminal session"), "{command}: {seen}");
    }
    let refused = workspace.run(&["remove", "dev"])?;
    ensure!(refused.stderr.contains("a terminal session"), "{refused:?}");
    ensure!(sessions(&workspace)? == ("running".to_owned(), 1));
    // Killed, it is none any more.
    shell.child.kill()?;
    shell.child.wait()?;
    ensure!(sessions(&workspace)? == ("running".to_owned(), 0));
    let (code, seen) = on_terminal(&workspace, &["down", "dev"])?.end()?;
    ensure!(code == Some(0) && !seen.contains("[y/N]"), "{seen}");
    Ok(())
}

pub fn a_terminal_has_our_size_and_follows_it(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    follows_size(|command| {
        let mut command = workspace.command(&[&["exec", "dev", "--"], command].concat())?;
        command.env("TERM", "dumb");
        Ok(command)
    })
}

pub fn scripts_and_force_are_never_asked(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    // Without a terminal it is none.
    workspace.ok(&["exec", "dev", "--", "true"])?;
    let shell = session(&workspace, &["exec", "dev", "--", "sh"])?;
    let forced = on_terminal(&workspace, &["restart", "-f", "dev"])?;
    let (code, seen) = forced.end()?;
    ensure!(
        code == Some(0) && !seen.contains("terminal session"),
        "{seen}"
    );
    // The env went away below it, and so it ends.
    let (code, seen) = shell.end()?;
    ensure!(code.is_some_and(|code| code > 128), "{code:?}: {seen}");
    ensure!(sessions(&workspace)? == ("running".to_owned(), 0));
    let shell = session(&workspace, &["exec", "dev", "--", "sh"])?;
    let down = workspace.run(&["down", "dev"])?;
    ensure!(down.code == Some(0), "{down:?}");
    ensure!(down.stderr.contains("a terminal session"), "{down:?}");
    shell.end()?;
    ensure!(sessions(&workspace)? == ("stopped".to_owned(), 0));
    Ok(())
}
