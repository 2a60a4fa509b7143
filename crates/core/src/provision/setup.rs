//! The project's set-up script.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::RUN_AS;
use crate::backend::{Backend, ExecIo, ExecSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::escape::visible;
use crate::model::{InstanceName, UserName};

/// Runs the script on stdin in the user's home. `$1` user, `$2` [`RUN_AS`].
pub const RUN_SETUP: &str = include_str!("run_setup.sh");

/// Lines of output in an error.
const LAST_LINES: usize = 5;
/// Longer lines are split.
const MAX_LINE_BYTES: usize = 8 << 10;

/// Runs a script as a user in the user's home, with its `#!` interpreter or `sh`. Calls `on_line` for each complete
/// line of output.
///
/// # Errors
/// `Guest` with exit code and last lines if the script fails; those of [`Backend::exec`].
pub async fn run_setup(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &UserName,
    script: Vec<u8>,
    on_line: impl Fn(&str) + Send + 'static,
) -> Result<()> {
    let argv = ["sh", "-c", RUN_SETUP, "sh", user.as_str(), RUN_AS];
    let lines = LineWriter::new(Box::new(on_line));
    let io = ExecIo::new(io::Cursor::new(script), lines.clone(), lines.clone());
    let code = backend.exec(name, &ExecSpec::new(argv), io).await?;
    let last = lines.finish();
    if code == 0 {
        return Ok(());
    }
    let output = if last.is_empty() {
        "no output".to_owned()
    } else {
        last.join("\n")
    };
    let message = format!("the set-up script of `{name}` failed with exit code {code}");
    Err(Error::new(ErrorKind::Guest, message)
        .caused_by(Error::new(ErrorKind::Guest, output))
        .with_hint("correct `setup:` in containers.yaml, then try again"))
}

#[derive(Clone)]
struct LineWriter(Arc<Mutex<LineBuffer>>);

struct LineBuffer {
    partial: Vec<u8>,
    last: VecDeque<String>,
    on_line: Box<dyn Fn(&str) + Send>,
}

impl LineBuffer {
    fn push(&mut self, data: &[u8]) {
        for &byte in data {
            if byte == b'\n' {
                self.end_line();
                continue;
            }
            self.partial.push(byte);
            if self.partial.len() >= MAX_LINE_BYTES {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).replace('\t', "    ");
        self.partial.clear();
        let line = &*visible(line.trim_end_matches('\r'));
        (self.on_line)(line);
        if line.trim().is_empty() {
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }
}

impl LineWriter {
    fn new(on_line: Box<dyn Fn(&str) + Send>) -> Self {
        let (partial, last) = (Vec::new(), VecDeque::new());
        let buffer = LineBuffer {
            partial,
            last,
            on_line,
        };
        Self(Arc::new(Mutex::new(buffer)))
    }

    /// The last lines, including an incomplete one.
    fn finish(&self) -> Vec<String> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buffer.partial.is_empty() {
            buffer.end_line();
        }
        buffer.last.iter().cloned().collect()
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.push(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_output_into_lines_from_any_pieces() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let lines = LineWriter::new(Box::new(move |line| {
            sink.lock().unwrap().push(line.to_owned())
        }));
        for part in [
            "o",
            "ne\ntw",
            "o\r\n",
            "\n",
            "thr",
            "ee ü"
                .as_bytes()
                .iter()
                .map(|&b| b as char)
                .collect::<String>()
                .as_str(),
        ] {
            lines.0.lock().unwrap().push(part.as_bytes());
        }
        assert_eq!(*seen.lock().unwrap(), ["one", "two", ""]);
        assert_eq!(lines.finish().len(), 3);
        assert!(seen.lock().unwrap()[3].starts_with("three"));
    }

    #[test]
    fn keeps_the_last_lines_and_splits_long_ones() {
        let lines = LineWriter::new(Box::new(|_| {}));
        for number in 0..100 {
            lines
                .0
                .lock()
                .unwrap()
                .push(format!("{number}\n\n").as_bytes());
        }
        assert_eq!(lines.finish(), ["95", "96", "97", "98", "99"]);
        lines
            .0
            .lock()
            .unwrap()
            .push(&vec![b'x'; MAX_LINE_BYTES * 3 + 1]);
        let last = lines.finish();
        assert_eq!(last.iter().map(String::len).max(), Some(MAX_LINE_BYTES));
        assert_eq!(last.last().unwrap(), "x");
    }
}
