//! Commands in a guest, as every backend takes them.

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

/// A command to run in a guest as root. Never text for a shell: `argv` goes to `execve`.
#[derive(Clone, Default)]
pub struct ExecSpec {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// Environment variables added to the engine's own.
    pub environment: BTreeMap<String, String>,
    /// A terminal of this size; without one the three streams stay apart.
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

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

/// What may be told to a running command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecControl {
    /// Its terminal has another size.
    Resize(WindowSize),
    /// Send it this signal (a number of Linux).
    Signal(i32),
}

/// The streams of a command. With a terminal, everything that it prints comes in `stdout`.
pub struct ExecIo {
    /// What it reads; the end of this stream is the end of its input.
    pub stdin: Box<dyn AsyncRead + Send + Unpin>,
    /// Where its output goes.
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    /// Where its errors go.
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    /// Resizes and signals.
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

/// What a command printed, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Its output.
    pub stdout: Vec<u8>,
    /// Its errors.
    pub stderr: Vec<u8>,
}

impl Output {
    /// The last line of its errors (or output) that says something, for messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.words(|lines| lines.last())
    }

    /// The first such line: some programs begin with the reason.
    #[must_use]
    pub fn first_words(&self) -> String {
        self.words(|lines| lines.next())
    }

    fn words(
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
        choose(&mut lines)
            .unwrap_or("it printed nothing")
            .trim()
            .to_owned()
    }
}

/// Runs a constant script in a guest's `sh`: its values come as `$1…` and on stdin, never as text
/// of the script.
///
/// # Errors
/// Those of [`Backend::exec`]; a failing script is an [`Output`] with its code.
pub async fn run_script(
    backend: &dyn Backend,
    name: &InstanceName,
    script: &'static str,
    arguments: &[&str],
    stdin: Vec<u8>,
) -> Result<Output> {
    capture(backend, name, &scripted(script, arguments), stdin).await
}

/// Runs a constant script as [`run_script`] does, and gives it a stream to read.
///
/// # Errors
/// Those of [`Backend::exec`].
pub async fn receive_script(
    backend: &dyn Backend,
    name: &InstanceName,
    script: &'static str,
    arguments: &[&str],
    stdin: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Output> {
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let io = ExecIo::new(stdin, stdout.clone(), stderr.clone());
    let code = backend.exec(name, &scripted(script, arguments), io).await?;
    Ok(Output {
        code,
        stdout: stdout.take(),
        stderr: stderr.take(),
    })
}

/// Runs a constant script as [`run_script`] does, and hands on what it prints. The stream ends with the
/// script.
///
/// # Errors
/// Those of [`Backend::exec`].
pub async fn send_script(
    backend: &dyn Backend,
    name: &InstanceName,
    script: &'static str,
    arguments: &[&str],
    stdout: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<Output> {
    let stderr = Captured::default();
    let io = ExecIo::new(tokio::io::empty(), stdout, stderr.clone());
    let code = backend.exec(name, &scripted(script, arguments), io).await?;
    Ok(Output {
        code,
        stdout: Vec::new(),
        stderr: stderr.take(),
    })
}

fn scripted(script: &'static str, arguments: &[&str]) -> ExecSpec {
    let head = ["sh", "-c", script, "sh"];
    ExecSpec::new(head.iter().chain(arguments).copied())
}

/// Runs a command to its end and keeps what it prints.
///
/// # Errors
/// Those of [`Backend::exec`].
pub async fn capture(
    backend: &dyn Backend,
    name: &InstanceName,
    spec: &ExecSpec,
    stdin: Vec<u8>,
) -> Result<Output> {
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let io = ExecIo::new(io::Cursor::new(stdin), stdout.clone(), stderr.clone());
    let code = backend.exec(name, spec, io).await?;
    Ok(Output {
        code,
        stdout: stdout.take(),
        stderr: stderr.take(),
    })
}

/// Output kept in memory, at most [`Captured::LIMIT`] bytes of it: what a command of ours prints.
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
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::LIMIT.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(&data[..room]);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
