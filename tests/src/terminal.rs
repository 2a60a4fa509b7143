//! Commands on a pseudoterminal.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Initial rows and columns.
const SIZE: (u16, u16) = (24, 80);
/// Reports each of these terminal sizes, after waiting up to 30 s for it, then exits with 7.
const SIZES: &str = "for size in '24 80' '30 100' '41 123'; do n=0; until [ \"$(stty size)\" = \"$size\" ]; do \
    n=$((n + 1)); [ \"$n\" -lt 300 ] || exit 1; sleep 0.1; done; echo \"it has $size\"; done; exit 7";

/// A command on its own terminal.
pub struct Terminal {
    pub child: Child,
    ours: File,
    /// All output so far.
    pub seen: String,
}

impl Terminal {
    pub fn start(mut command: Command) -> Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = ptsname(&ours, Vec::new())?.into_string()?;
        let ours = File::from(ours);
        set_size(&ours, SIZE)?;
        let theirs = File::options().read(true).write(true).open(path)?;
        command
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs);
        Ok(Self {
            child: command.spawn()?,
            ours,
            seen: String::new(),
        })
    }

    /// Resizes the terminal and signals the command.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        set_size(&self.ours, (rows, columns))?;
        // The kernel signals only the terminal's foreground group, which the command is not in.
        let pid = Pid::from_raw(self.child.id().cast_signed());
        Ok(kill_process(pid.context("no process")?, Signal::WINCH)?)
    }

    pub fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.ours, "{line}")?)
    }

    /// Reads until the output contains these words.
    pub fn until(&mut self, words: &str) -> Result<()> {
        while !self.seen.contains(words) {
            ensure!(self.read()?, "no {words:?} in the output: {}", self.seen);
        }
        Ok(())
    }

    /// Returns `false` once all other ends are closed.
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

    /// Exit code and complete output.
    pub fn end(mut self) -> Result<(Option<i32>, String)> {
        while self.read()? {}
        Ok((self.child.wait()?.code(), self.seen))
    }
}

fn set_size(terminal: &File, (rows, columns): (u16, u16)) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Checks that a terminal in an env follows the size of this one. `exec` runs a program with arguments in the env.
pub fn follows_size(exec: impl FnOnce(&[&str]) -> Result<Command>) -> Result<()> {
    let mut terminal = Terminal::start(exec(&["sh", "-c", SIZES])?)?;
    terminal.until("it has 24 80")?;
    for (rows, columns) in [(30, 100), (41, 123)] {
        terminal.resize(rows, columns)?;
        terminal.until(&format!("it has {rows} {columns}"))?;
    }
    let (code, seen) = terminal.end()?;
    ensure!(code == Some(7), "{code:?}: {seen}");
    Ok(())
}
