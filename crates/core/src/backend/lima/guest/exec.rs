//! Commands in a guest: each by an SSH session that it has alone ([`session_pool`](crate::backend::lima::guest::session_pool)), as root by sudo.
//!
//! SSH joins arguments to one line for the user's shell, so they are quoted ([`quote`]); variables go ahead by
//! another command's stdin, for arguments are for everybody in the guest to see.

use std::collections::BTreeMap;

use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use crate::backend::lima::guest::connection::Reach;
use crate::backend::lima::guest::quote;
use crate::backend::lima::guest::session_pool::SessionPool;
use crate::backend::ssh::User;
use crate::backend::{ExecControl, ExecIo, ExecSpec, WindowSize};
use crate::error::{Error, ErrorKind, Result};

const RUN: &str = include_str!("run.sh");
const VARIABLES: &str = include_str!("variables.sh");
const SIGNAL: &str = include_str!("signal.sh");
/// The most that a shell takes as one argument (128 KiB on Linux), and sshd's own words around it.
const LINE_LIMIT: usize = 120 * 1024;
/// What a terminal is called where nobody says.
const TERMINAL: &str = "xterm-256color";
/// The channel of errors.
const STDERR: u32 = 1;
/// Code of a command that ended without one.
const KILLED: i32 = 9;

/// Where commands are run: a guest.
#[derive(Clone)]
pub(crate) struct Shell {
    pub(crate) reach: Reach,
    pub(crate) session_pool: SessionPool,
}

/// A command in a guest that nobody waits for any more is killed.
struct Run {
    shell: Shell,
    name: Uuid,
    is_over: bool,
}

/// Runs a command to its end.
pub(crate) async fn run(shell: Shell, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
    let mut run = Run {
        shell: shell.clone(),
        name: Uuid::new_v4(),
        is_over: false,
    };
    let id = run.name.to_string();
    let head = ["sudo", "-n", "--", "sh", "-c", RUN, "sh", &id];
    let line = line_of(head.into_iter().chain(spec.argv.iter().map(String::as_str)))?;
    let terminal = spec.terminal.is_some();
    let mut environment = spec.environment.clone();
    let kind = environment
        .get("TERM")
        .map_or(TERMINAL, String::as_str)
        .to_owned();
    if terminal {
        environment
            .entry("TERM".to_owned())
            .or_insert_with(|| kind.clone());
    }
    if environment.keys().any(|name| name != "TERM") || (terminal && kind != TERMINAL) {
        shell.send_variables(&id, &environment).await?;
    }
    let Shell {
        reach,
        session_pool,
    } = shell;
    let (login, channel, user) = session_pool.command(&reach).await?;
    let failed = |error: russh::Error| reach.lost().caused_by(error);
    if let Some(WindowSize { columns, rows }) = spec.terminal {
        let (columns, rows) = (columns.into(), rows.into());
        let asked = channel.request_pty(false, &kind, columns, rows, 0, 0, &[]);
        asked.await.map_err(failed)?;
    }
    channel.exec(false, line).await.map_err(failed)?;
    let (theirs, ours) = channel.split();
    let code = pump(&run, theirs, ours, io, user).await;
    run.is_over = code.is_ok();
    if run.is_over {
        session_pool.put(&reach, login);
    }
    code
}

/// Pumps the streams until the command has ended.
async fn pump(
    run: &Run,
    mut theirs: ChannelReadHalf,
    ours: ChannelWriteHalf<russh::client::Msg>,
    io: ExecIo,
    _user: User,
) -> Result<i32> {
    let ExecIo {
        mut stdin,
        mut stdout,
        mut stderr,
        mut control,
    } = io;
    let input = async {
        let mut writer = ours.make_writer();
        // A command that reads no more, or has ended, is no failure.
        let _ = tokio::io::copy(&mut stdin, &mut writer).await;
        let _ = ours.eof().await;
    };
    let controls = async {
        while let Some(said) = control.recv().await {
            match said {
                ExecControl::Resize(WindowSize { columns, rows }) => {
                    let _ = ours.window_change(columns.into(), rows.into(), 0, 0).await;
                }
                ExecControl::Signal(number) => run.signal(number).await,
            }
        }
    };
    let others = async {
        tokio::join!(input, controls);
        std::future::pending::<()>().await;
    };
    let code = tokio::select! {
        code = hear(&mut theirs, stdout.as_mut(), stderr.as_mut()) => code,
        () = others => None,
    };
    // Readers that are gone don't need to hear of the end.
    let _ = tokio::join!(stdout.shutdown(), stderr.shutdown());
    code.ok_or_else(|| run.shell.reach.lost())
}

/// Hands on what a command prints; its code once it has ended, `None` where the connection did first.
async fn hear(
    theirs: &mut ChannelReadHalf,
    stdout: &mut (dyn AsyncWrite + Send + Unpin),
    stderr: &mut (dyn AsyncWrite + Send + Unpin),
) -> Option<i32> {
    let mut code = None;
    while let Some(message) = theirs.wait().await {
        match message {
            ChannelMsg::Data { data } => hand_on(stdout, &data).await,
            ChannelMsg::ExtendedData { data, ext: STDERR } => hand_on(stderr, &data).await,
            ChannelMsg::ExitStatus { exit_status } => code = i32::try_from(exit_status).ok(),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                code = Some(128 + number_of(&signal_name))
            }
            _ => {}
        }
    }
    code
}

/// Writes it out at once: a writer that has a thread of its own forgets what it hasn't begun when it ends.
async fn hand_on(to: &mut (dyn AsyncWrite + Send + Unpin), data: &[u8]) {
    // A reader that is gone doesn't end the command.
    if to.write_all(data).await.is_ok() {
        let _ = to.flush().await;
    }
}

fn line_of<'a>(words: impl Iterator<Item = &'a str> + Clone) -> Result<String> {
    if words.clone().any(|word| word.contains('\0')) {
        let message = "an argument has a NUL in it, which no command takes";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let line = format!("exec {}", quote::line(words));
    if line.len() <= LINE_LIMIT {
        return Ok(line);
    }
    let message = format!("a command of {} bytes is too long for a shell", line.len());
    Err(Error::new(ErrorKind::Config, message).with_hint("give it a file to read"))
}

/// Variables as a script sets them. A name that is none for a shell is left out, as engines do.
fn assignments(environment: &BTreeMap<String, String>) -> String {
    let is_name = |name: &&String| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let named = environment.iter().filter(|(name, _)| is_name(name));
    named
        .map(|(name, value)| format!("export {name}={}\n", quote::quoted(value)))
        .collect()
}

impl Shell {
    /// Has it keep variables for a run.
    async fn send_variables(
        &self,
        run: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<()> {
        let text = assignments(environment).into_bytes();
        match self
            .with_root(&["sh", "-c", VARIABLES, "sh", run], text)
            .await?
        {
            0 => Ok(()),
            _ => Err(Error::new(ErrorKind::Guest, "the guest takes no variables")),
        }
    }

    /// Runs a command of ours as root, with something to read.
    async fn with_root(&self, words: &[&str], stdin: Vec<u8>) -> Result<i32> {
        let head = ["sudo", "-n", "--"];
        let line = line_of(head.into_iter().chain(words.iter().copied()))?;
        let failed = |error: russh::Error| self.reach.lost().caused_by(error);
        let (login, mut channel, _user) = self.session_pool.command(&self.reach).await?;
        channel.exec(false, line).await.map_err(failed)?;
        channel.data_bytes(stdin).await.map_err(failed)?;
        channel.eof().await.map_err(failed)?;
        let mut code = None;
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::ExitStatus { exit_status } = message {
                code = i32::try_from(exit_status).ok();
            }
        }
        let code = code.ok_or_else(|| self.reach.lost())?;
        self.session_pool.put(&self.reach, login);
        Ok(code)
    }
}

impl Run {
    /// Sends it a signal. Where it has ended meanwhile, nobody hears it.
    async fn signal(&self, number: i32) {
        let number = number.to_string();
        let words = ["sh", "-c", SIGNAL, "sh", &number];
        let name = format!("{}\n", self.name);
        if let Err(error) = self.shell.with_root(&words, name.into_bytes()).await {
            tracing::debug!(?error, "a signal isn't sent");
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !self.is_over {
            let again = Self {
                shell: self.shell.clone(),
                name: self.name,
                is_over: true,
            };
            runtime.spawn(async move { again.signal(KILLED).await });
        }
    }
}

fn number_of(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(_) => KILLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_bound_and_no_nul() {
        assert!(
            line_of(["echo", "a b"].into_iter())
                .unwrap()
                .ends_with("'echo' 'a b'")
        );
        assert!(line_of(["a\0b"].into_iter()).is_err());
        let long = "x".repeat(LINE_LIMIT);
        assert!(line_of([long.as_str()].into_iter()).is_err());
    }

    #[test]
    fn variables_are_set_by_a_shell_as_they_are() {
        let value = "a'b\"c $HOME `id` \\ \n end";
        let environment = [("GOOD", value), ("1BAD", "x"), ("ALSO BAD", "y")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let script = format!("{}printf %s \"$GOOD\"", assignments(&environment.into()));
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
        assert!(output.stderr.is_empty());
    }
}
