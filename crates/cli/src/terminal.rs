//! The user's terminal during a command in an env: raw mode, size, signals.

use std::io::{self, IsTerminal};

use lxc_dev_manager_core::backend::{ExecControl, ExecIo, WindowSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Whether stdin and stdout are terminals.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

pub(crate) fn window_size() -> WindowSize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => WindowSize {
            columns: size.ws_col,
            rows: size.ws_row,
        },
        _ => WindowSize {
            columns: 80,
            rows: 24,
        },
    }
}

/// Keeps the terminal in raw mode until dropped.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    pub(crate) fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A closed terminal needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Returns the streams of this process. Resizes and signals are forwarded to the command.
pub(crate) fn streams(interactive: bool) -> ExecIo {
    let (sender, control) = mpsc::channel(8);
    tokio::spawn(forward_signals(sender, interactive));
    ExecIo {
        stdin: Box::new(tokio::io::stdin()),
        stdout: Box::new(tokio::io::stdout()),
        stderr: Box::new(tokio::io::stderr()),
        control,
    }
}

/// Forwards signals until the receiver ends. In raw mode Ctrl+C is a byte, so SIGINT comes from elsewhere.
async fn forward_signals(sender: mpsc::Sender<ExecControl>, interactive: bool) {
    let subscribe = |kind: SignalKind| signal(kind).ok();
    let mut resized = subscribe(SignalKind::window_change());
    let mut interrupted = subscribe(SignalKind::interrupt());
    let mut terminated = subscribe(SignalKind::terminate());
    let mut hung_up = subscribe(SignalKind::hangup());
    loop {
        let control = tokio::select! {
            Some(()) = next(&mut resized), if interactive => ExecControl::Resize(window_size()),
            Some(()) = next(&mut interrupted) => {
                ExecControl::Signal(SignalKind::interrupt().as_raw_value())
            }
            Some(()) = next(&mut terminated) => {
                ExecControl::Signal(SignalKind::terminate().as_raw_value())
            }
            Some(()) = next(&mut hung_up) => {
                ExecControl::Signal(SignalKind::hangup().as_raw_value())
            }
            else => return,
        };
        if sender.send(control).await.is_err() {
            return;
        }
    }
}

async fn next(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}
