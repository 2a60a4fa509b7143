//! Terminal sessions: whoever stops the env below them is asked.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command};

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A command of ours on a terminal of its own.
struct Terminal {
    child: Child,
    ours: File,
    seen: String,
}

impl Terminal {
    fn start(mut command: Command) -> Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = ptsname(&ours, Vec::new())?.into_string()?;
        let theirs = File::options().read(true).write(true).open(path)?;
        command
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs);
        Ok(Self {
            child: command.spawn()?,
            ours: ours.into(),
            seen: String::new(),
        })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.ours, "{line}")?)
    }

    /// Reads until these words were printed.
    fn until(&mut self, words: &str) -> Result<()> {
        while !self.seen.contains(words) {
            ensure!(self.read()?, "it never said {words:?}: {}", self.seen);
        }
        Ok(())
    }

    /// Reads once; nothing comes any more once all other ends are closed.
    fn read(&mut self) -> Result<bool> {
        let mut piece = [0; 4096];
        match self.ours.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.seen
                    .push_str(&String::from_utf8_lossy(&piece[..count]));
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if error.raw_os_error() == Some(5) => Ok(false),
            Err(error) => bail!(error),
        }
    }

    /// Its exit code, and all that it printed.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        while self.read()? {}
        Ok((self.child.wait()?.code(), self.seen))
    }
}

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
