//! Commands on a terminal, as somebody who types and reads meets them.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command};

use anyhow::{Result, bail, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A command of ours on a terminal of its own.
pub struct Terminal {
    /// The command.
    pub child: Child,
    ours: File,
    /// All that it has printed.
    pub seen: String,
}

impl Terminal {
    /// Starts it.
    pub fn start(mut command: Command) -> Result<Self> {
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

    /// Types a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.ours, "{line}")?)
    }

    /// Reads until these words were printed.
    pub fn until(&mut self, words: &str) -> Result<()> {
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
    pub fn end(mut self) -> Result<(Option<i32>, String)> {
        while self.read()? {}
        Ok((self.child.wait()?.code(), self.seen))
    }
}
