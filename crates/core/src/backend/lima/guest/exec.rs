//! Commands in a guest: each has an SSH session to itself ([`session_pool`](super::session_pool)) and runs as root by sudo.
//!
//! SSH joins arguments to one line for the user's shell, so they are quoted by [`shlex`]. Variables are sent ahead on
//! another command's stdin, because arguments are visible to every process in the guest.

use std::collections::BTreeMap;

use async_trait::async_trait;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

use super::connection::SshTarget;
use super::session_pool::SessionPool;
use crate::backend::lima::backend::Lima;
use crate::backend::ssh::SessionUse;
use crate::backend::{Exec, ExecControl, ExecIo, ExecSpec, WindowSize};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

const RUN: &str = include_str!("run.sh");
const VARIABLES: &str = include_str!("variables.sh");
const SIGNAL: &str = include_str!("signal.sh");
/// Linux limits one argument to 128 KiB; sshd adds some words.
const MAX_COMMAND_BYTES: usize = 120 * 1024;
const DEFAULT_TERM: &str = "xterm-256color";
/// SSH's data type of stderr.
const STDERR: u32 = 1;
const SIGKILL: i32 = 9;

/// Runs commands in one guest.
#[derive(Clone)]
pub(crate) struct GuestShell {
    pub(crate) target: SshTarget,
    pub(crate) session_pool: SessionPool,
}

/// A running command; dropping it before its end kills it.
struct RunningCommand {
    shell: GuestShell,
    name: Uuid,
    has_ended: bool,
}

/// Runs a command and returns its exit code.
pub(crate) async fn run(shell: GuestShell, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
    let mut run = RunningCommand {
        shell: shell.clone(),
        name: Uuid::new_v4(),
        has_ended: false,
    };
    let id = run.name.to_string();
    let head = ["sudo", "-n", "--", "sh", "-c", RUN, "sh", &id];
    let line = command_line(head.into_iter().chain(spec.argv.iter().map(String::as_str)))?;
    let terminal = spec.terminal.is_some();
    let mut environment = spec.environment.clone();
    let kind = environment
        .get("TERM")
        .map_or(DEFAULT_TERM, String::as_str)
        .to_owned();
    if terminal {
        environment
            .entry("TERM".to_owned())
            .or_insert_with(|| kind.clone());
    }
    if environment.keys().any(|name| name != "TERM") || (terminal && kind != DEFAULT_TERM) {
        shell.send_variables(&id, &environment).await?;
    }
    let GuestShell {
        target,
        session_pool,
    } = shell;
    let (pooled, channel, user) = session_pool.open_channel(&target).await?;
    let failed = |error: russh::Error| target.connection_lost().caused_by(error);
    if let Some(WindowSize { columns, rows }) = spec.terminal {
        let (columns, rows) = (columns.into(), rows.into());
        let request = channel.request_pty(false, &kind, columns, rows, 0, 0, &[]);
        request.await.map_err(failed)?;
    }
    channel.exec(false, line).await.map_err(failed)?;
    let (reader, sender) = channel.split();
    let code = pump(&run, reader, sender, io, user).await;
    run.has_ended = code.is_ok();
    if run.has_ended {
        session_pool.put(&target, pooled);
    }
    code
}

/// Copies the streams until the command has ended.
async fn pump(
    run: &RunningCommand,
    mut reader: ChannelReadHalf,
    sender: ChannelWriteHalf<russh::client::Msg>,
    io: ExecIo,
    _guard: SessionUse,
) -> Result<i32> {
    let ExecIo {
        mut stdin,
        mut stdout,
        mut stderr,
        mut control,
    } = io;
    let input = async {
        let mut writer = sender.make_writer();
        // Not an error: the command may stop reading or end.
        let _ = tokio::io::copy(&mut stdin, &mut writer).await;
        let _ = sender.eof().await;
    };
    let controls = async {
        while let Some(message) = control.recv().await {
            match message {
                ExecControl::Resize(WindowSize { columns, rows }) => {
                    let _ = sender
                        .window_change(columns.into(), rows.into(), 0, 0)
                        .await;
                }
                ExecControl::Signal(number) => run.signal(number).await,
            }
        }
    };
    let side_tasks = async {
        tokio::join!(input, controls);
        std::future::pending::<()>().await;
    };
    let code = tokio::select! {
        code = forward_output(&mut reader, stdout.as_mut(), stderr.as_mut()) => code,
        () = side_tasks => None,
    };
    // A closed reader is no error.
    let _ = tokio::join!(stdout.shutdown(), stderr.shutdown());
    code.ok_or_else(|| run.shell.target.connection_lost())
}

/// Forwards the output and returns the exit code; `None` if the connection is lost first.
async fn forward_output(
    reader: &mut ChannelReadHalf,
    stdout: &mut (dyn AsyncWrite + Send + Unpin),
    stderr: &mut (dyn AsyncWrite + Send + Unpin),
) -> Option<i32> {
    let mut code = None;
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => write_now(stdout, &data).await,
            ChannelMsg::ExtendedData { data, ext: STDERR } => write_now(stderr, &data).await,
            ChannelMsg::ExitStatus { exit_status } => code = i32::try_from(exit_status).ok(),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                code = Some(128 + signal_number(&signal_name))
            }
            _ => {}
        }
    }
    code
}

/// Writes and flushes: a writer with a thread of its own drops queued data when it ends.
async fn write_now(to: &mut (dyn AsyncWrite + Send + Unpin), data: &[u8]) {
    // A closed reader doesn't end the command.
    if to.write_all(data).await.is_ok() {
        let _ = to.flush().await;
    }
}

/// Joins words to a line that the guest's shell splits into exactly these words.
fn command_line<'a>(words: impl Iterator<Item = &'a str>) -> Result<String> {
    let words = shlex::try_join(words).map_err(|error| {
        Error::new(ErrorKind::Config, "invalid argument: contains a NUL byte").caused_by(error)
    })?;
    let line = format!("exec {words}");
    if line.len() <= MAX_COMMAND_BYTES {
        return Ok(line);
    }
    let message = format!("the command is too long: {} bytes", line.len());
    Err(Error::new(ErrorKind::Config, message).with_hint("pass the data on stdin or in a file"))
}

/// Shell script that exports variables. Names that are invalid in a shell are skipped, as engines do.
fn assignments(environment: &BTreeMap<String, String>) -> String {
    let is_name = |name: &&String| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let named = environment.iter().filter(|(name, _)| is_name(name));
    // A value with a NUL byte can be in no environment.
    let quoted = named.filter_map(|(name, value)| Some((name, shlex::try_quote(value).ok()?)));
    quoted
        .map(|(name, value)| format!("export {name}={value}\n"))
        .collect()
}

impl GuestShell {
    /// Stores variables in the guest for a command.
    async fn send_variables(
        &self,
        run: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<()> {
        let text = assignments(environment).into_bytes();
        match self
            .run_as_root(&["sh", "-c", VARIABLES, "sh", run], text)
            .await?
        {
            0 => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Guest,
                "cannot pass environment variables to the guest",
            )),
        }
    }

    /// Runs one of our own commands as root.
    async fn run_as_root(&self, words: &[&str], stdin: Vec<u8>) -> Result<i32> {
        let head = ["sudo", "-n", "--"];
        let line = command_line(head.into_iter().chain(words.iter().copied()))?;
        let failed = |error: russh::Error| self.target.connection_lost().caused_by(error);
        let (pooled, mut channel, _user) = self.session_pool.open_channel(&self.target).await?;
        channel.exec(false, line).await.map_err(failed)?;
        channel.data_bytes(stdin).await.map_err(failed)?;
        channel.eof().await.map_err(failed)?;
        let mut code = None;
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::ExitStatus { exit_status } = message {
                code = i32::try_from(exit_status).ok();
            }
        }
        let code = code.ok_or_else(|| self.target.connection_lost())?;
        self.session_pool.put(&self.target, pooled);
        Ok(code)
    }
}

impl RunningCommand {
    /// Sends the command a signal; has no effect if it has ended.
    async fn signal(&self, number: i32) {
        let number = number.to_string();
        let words = ["sh", "-c", SIGNAL, "sh", &number];
        let name = format!("{}\n", self.name);
        if let Err(error) = self.shell.run_as_root(&words, name.into_bytes()).await {
            tracing::debug!(?error, "cannot send a signal");
        }
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !self.has_ended {
            let copy = Self {
                shell: self.shell.clone(),
                name: self.name,
                has_ended: true,
            };
            runtime.spawn(async move { copy.signal(SIGKILL).await });
        }
    }
}

fn signal_number(signal: &Sig) -> i32 {
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
        Sig::Custom(_) => SIGKILL,
    }
}

#[async_trait]
impl Exec for Lima {
    fn own_key(&self) -> Result<Option<String>> {
        super::connection::own_key(self.limactl.home()).map(Some)
    }

    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        let target =
            SshTarget::of_running(self.limactl.home(), name).map_err(|error| {
                match error.kind() {
                    ErrorKind::Conflict => {
                        Error::new(ErrorKind::Engine, format!("`{name}` is not running"))
                    }
                    _ => error,
                }
            })?;
        let session_pool = self.session_pool.clone();
        run(
            GuestShell {
                target,
                session_pool,
            },
            spec,
            io,
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rejects_long_command_lines_and_nul() {
        assert!(
            command_line(["echo", "a b"].into_iter())
                .unwrap()
                .ends_with("echo 'a b'")
        );
        assert!(command_line(["a\0b"].into_iter()).is_err());
        let long = "x".repeat(MAX_COMMAND_BYTES);
        assert!(command_line([long.as_str()].into_iter()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn shell_splits_the_line_into_the_same_words(
            words in prop::collection::vec("[^\0]{0,40}|['\"$`\\\\!\n*?~#; \t]{0,12}", 1..8)
        ) {
            let head = ["printf", "%s\\0"];
            let line = command_line(head.into_iter().chain(words.iter().map(String::as_str))).unwrap();
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            let expected: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
            prop_assert_eq!(output.stdout, expected);
        }
    }

    #[test]
    fn shell_sets_variables_verbatim() {
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
