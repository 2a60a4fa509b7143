//! The user's terminal while a command runs in an env: raw mode, size, signals.

use std::io::{self, IsTerminal};

use lxc_dev_manager_core::backend::{ExecControl, ExecIo, WindowSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Whether both ends are a terminal, so that the command gets one too.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Size of the terminal.
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

/// The terminal in raw mode until dropped: every key goes to the command.
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
        // Nothing better can be done with a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The process's own streams, with resizes and signals passed on to the command.
pub(crate) fn streams(interactive: bool) -> ExecIo {
    let (sender, control) = mpsc::channel(8);
    tokio::spawn(pass_on(sender, interactive));
    ExecIo {
        stdin: Box::new(tokio::io::stdin()),
        stdout: Box::new(tokio::io::stdout()),
        stderr: Box::new(tokio::io::stderr()),
        control,
    }
}

/// Ends with the receiver. In raw mode Ctrl+C is a byte; the signals here come from outside.
async fn pass_on(sender: mpsc::Sender<ExecControl>, interactive: bool) {
    let listen = |kind: SignalKind| signal(kind).ok();
    let mut resized = listen(SignalKind::window_change());
    let mut interrupted = listen(SignalKind::interrupt());
    let mut terminated = listen(SignalKind::terminate());
    let mut hung_up = listen(SignalKind::hangup());
    loop {
        let order = tokio::select! {
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
        if sender.send(order).await.is_err() {
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
