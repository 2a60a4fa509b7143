//! Commands in a guest.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::Backend;
use crate::error::Result;
use crate::model::InstanceName;

/// A command that runs as root in a guest. `argv` is passed to `execve`, without a shell.
#[derive(Clone, Default)]
pub struct ExecSpec {
    pub argv: Vec<String>,
    /// Added to the engine's environment.
    pub environment: BTreeMap<String, String>,
    /// Size of the terminal; without one, stdout and stderr stay separate.
    pub terminal: Option<WindowSize>,
}

impl ExecSpec {
    /// A command without a terminal.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// Terminal size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    pub columns: u16,
    pub rows: u16,
}

/// A request to a running command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecControl {
    Resize(WindowSize),
    /// Linux signal number.
    Signal(i32),
}

/// Streams of a command. With a terminal, all output goes to `stdout`.
pub struct ExecIo {
    pub stdin: Box<dyn AsyncRead + Send + Unpin>,
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    pub control: mpsc::Receiver<ExecControl>,
}

impl ExecIo {
    /// Streams without resizes and signals.
    pub fn new(
        stdin: impl AsyncRead + Send + Unpin + 'static,
        stdout: impl AsyncWrite + Send + Unpin + 'static,
        stderr: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let (_, control) = mpsc::channel(1);
        Self {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            control,
        }
    }
}

/// Output and exit code of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// Last non-empty line of stderr, or of stdout if stderr is empty.
    #[must_use]
    pub fn last_line(&self) -> String {
        self.select_line(|lines| lines.last())
    }

    /// First non-empty line: some programs print the reason first.
    #[must_use]
    pub fn first_line(&self) -> String {
        self.select_line(|lines| lines.next())
    }

    fn select_line(
        &self,
        choose: impl for<'a> Fn(&mut dyn Iterator<Item = &'a str>) -> Option<&'a str>,
    ) -> String {
        let text = if self.stderr.is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        choose(&mut lines).unwrap_or("no output").trim().to_owned()
    }
}

/// Runs a constant script with the guest's `sh`. Pass values as arguments or stdin only.
///
/// # Errors
/// Those of [`Backend::exec`]. A failing script is not an error: see [`Output::code`].
pub async fn run_script(
    backend: &dyn Backend,
    name: &InstanceName,
    script: &'static str,
    arguments: &[&str],
    stdin: Vec<u8>,
) -> Result<Output> {
    capture(backend, name, &script_spec(script, arguments), stdin).await
}

/// [`run_script`] with a stream as input.
pub async fn stream_to_script(
    backend: &dyn Backend,
    name: &InstanceName,
    script: &'static str,
    arguments: &[&str],
    stdin: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Output> {
    capture_stream(backend, name, &script_spec(script, arguments), stdin).await
}

/// [`run_script`] with a stream for its output.
pub async fn stream_from_script(
    backend: &dyn Backend,
    name: &InstanceName,
    script: &'static str,
    arguments: &[&str],
    stdout: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<Output> {
    let stderr = Captured::default();
    let io = ExecIo::new(tokio::io::empty(), stdout, stderr.clone());
    let code = backend
        .exec(name, &script_spec(script, arguments), io)
        .await?;
    Ok(Output {
        code,
        stdout: Vec::new(),
        stderr: stderr.take(),
    })
}

fn script_spec(script: &'static str, arguments: &[&str]) -> ExecSpec {
    let shell = ["sh", "-c", script, "sh"];
    ExecSpec::new(shell.iter().chain(arguments).copied())
}

/// Runs a command and captures its output.
///
/// # Errors
/// Those of [`Backend::exec`].
pub async fn capture(
    backend: &dyn Backend,
    name: &InstanceName,
    spec: &ExecSpec,
    stdin: Vec<u8>,
) -> Result<Output> {
    capture_stream(backend, name, spec, io::Cursor::new(stdin)).await
}

async fn capture_stream(
    backend: &dyn Backend,
    name: &InstanceName,
    spec: &ExecSpec,
    stdin: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Output> {
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let io = ExecIo::new(stdin, stdout.clone(), stderr.clone());
    let code = backend.exec(name, spec, io).await?;
    Ok(Output {
        code,
        stdout: stdout.take(),
        stderr: stderr.take(),
    })
}

/// Output in memory; bytes beyond [`Captured::LIMIT`] are dropped.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    const LIMIT: usize = 16 << 20;

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncWrite for Captured {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::LIMIT.saturating_sub(buffer.len()).min(data.len());
        buffer.extend_from_slice(&data[..room]);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Commands in a running instance.
#[async_trait]
pub trait Exec: Send + Sync {
    /// The public key with which the backend logs in as the guest's user, if it does. User set-up authorizes it.
    ///
    /// # Errors
    /// `Io` if it cannot be read.
    fn own_key(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Runs a command as root until it ends. Dropping the future ends the command.
    ///
    /// Returns the exit code; 128 + signal number after a signal, 127 if the command is missing, 126 if it is not
    /// executable.
    ///
    /// # Errors
    /// `Engine` if the instance is not running.
    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32>;
}
