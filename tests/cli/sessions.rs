//! Terminal sessions: stopping their env needs confirmation.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::terminal::{Terminal, follows_size};
use lxc_dev_manager_tests::workspace::Workspace;

fn on_terminal(workspace: &Workspace, arguments: &[&str]) -> Result<Terminal> {
    let mut command = workspace.command(arguments)?;
    command.env("TERM", "dumb");
    Terminal::start(command)
}

/// Opens a session in `dev` and waits until it runs commands.
fn session(workspace: &Workspace, arguments: &[&str]) -> Result<Terminal> {
    let mut session = on_terminal(workspace, arguments)?;
    // The terminal echoes input, which must not contain the word.
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

pub fn stop_with_open_session_asks(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let mut shell = session(&workspace, &["ssh", "dev"])?;
    ensure!(sessions(&workspace)? == ("running".to_owned(), 1));
    for command in ["down", "restart"] {
        let mut prompted = on_terminal(&workspace, &[command, "dev"])?;
        prompted.until("[y/N]")?;
        prompted.say("n")?;
        let (code, seen) = prompted.end()?;
        ensure!(code == Some(1), "{command}: {seen}");
        ensure!(
            seen.contains("one open terminal session"),
            "{command}: {seen}"
        );
    }
    let refused = workspace.run(&["remove", "dev"])?;
    ensure!(
        refused.stderr.contains("one open terminal session"),
        "{refused:?}"
    );
    ensure!(sessions(&workspace)? == ("running".to_owned(), 1));
    // A killed session no longer counts.
    shell.child.kill()?;
    shell.child.wait()?;
    ensure!(sessions(&workspace)? == ("running".to_owned(), 0));
    let (code, seen) = on_terminal(&workspace, &["down", "dev"])?.end()?;
    ensure!(code == Some(0) && !seen.contains("[y/N]"), "{seen}");
    Ok(())
}

pub fn terminal_follows_the_window_size(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    follows_size(|command| {
        let mut command = workspace.command(&[&["exec", "dev", "--"], command].concat())?;
        command.env("TERM", "dumb");
        Ok(command)
    })
}

pub fn stop_without_terminal_or_with_force_does_not_ask(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    // A command without a terminal is not a session.
    workspace.ok(&["exec", "dev", "--", "true"])?;
    let shell = session(&workspace, &["exec", "dev", "--", "sh"])?;
    let forced = on_terminal(&workspace, &["restart", "-f", "dev"])?;
    let (code, seen) = forced.end()?;
    ensure!(
        code == Some(0) && !seen.contains("terminal session"),
        "{seen}"
    );
    // The session ends with its env.
    let (code, seen) = shell.end()?;
    ensure!(code.is_some_and(|code| code > 128), "{code:?}: {seen}");
    ensure!(sessions(&workspace)? == ("running".to_owned(), 0));
    let shell = session(&workspace, &["exec", "dev", "--", "sh"])?;
    let down = workspace.run(&["down", "dev"])?;
    ensure!(down.code == Some(0), "{down:?}");
    ensure!(
        down.stderr.contains("one open terminal session"),
        "{down:?}"
    );
    shell.end()?;
    ensure!(sessions(&workspace)? == ("stopped".to_owned(), 0));
    Ok(())
}
