//! The set-up of a project's own, run once in a new env.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::RUN_AS;
use crate::backend::{Backend, ExecIo, ExecSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{InstanceName, UserName};

/// Runs the script on stdin once as the user `$1`, in its home. `$2` is [`RUN_AS`].
pub const RUN_SETUP: &str = include_str!("run_setup.sh");

/// How many of the last lines an error shows.
const LAST_LINES: usize = 5;
/// A line that is longer comes in pieces.
const MAX_LINE: usize = 8 << 10;

/// Runs a script in a guest as one of its users, in that user's home; one that begins with `#!` is run by
/// the interpreter that it names, any other by `sh`. `on_line` is called with each line that it prints,
/// without the line's end, as soon as it is there.
///
/// # Errors
/// `Guest` with the exit code and the last lines, where the script fails; else those of
/// [`Backend::exec`].
pub async fn run_setup(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &UserName,
    script: Vec<u8>,
    on_line: impl Fn(&str) + Send + 'static,
) -> Result<()> {
    let argv = ["sh", "-c", RUN_SETUP, "sh", user.as_str(), RUN_AS];
    let lines = Lines::new(Box::new(on_line));
    let io = ExecIo::new(io::Cursor::new(script), lines.clone(), lines.clone());
    let code = backend.exec(name, &ExecSpec::new(argv), io).await?;
    let last = lines.end();
    if code == 0 {
        return Ok(());
    }
    let said = if last.is_empty() {
        "it printed nothing".to_owned()
    } else {
        last.join("\n")
    };
    let message = format!("the set-up of `{name}` failed with exit code {code}");
    Err(Error::new(ErrorKind::Guest, message)
        .caused_by(Error::new(ErrorKind::Guest, said))
        .with_hint("correct what `setup:` in containers.yaml names, and do this again"))
}

/// Output that is cut into lines.
#[derive(Clone)]
struct Lines(Arc<Mutex<Cut>>);

struct Cut {
    begun: Vec<u8>,
    last: VecDeque<String>,
    on_line: Box<dyn Fn(&str) + Send>,
}

impl Cut {
    fn take(&mut self, data: &[u8]) {
        for &byte in data {
            if byte == b'\n' {
                self.line();
                continue;
            }
            self.begun.push(byte);
            if self.begun.len() >= MAX_LINE {
                self.line();
            }
        }
    }

    fn line(&mut self) {
        let line = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun.clear();
        let line = line.trim_end_matches('\r');
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

impl Lines {
    fn new(on_line: Box<dyn Fn(&str) + Send>) -> Self {
        let (begun, last) = (Vec::new(), VecDeque::new());
        let cut = Cut {
            begun,
            last,
            on_line,
        };
        Self(Arc::new(Mutex::new(cut)))
    }

    /// The last lines; one without an end is a line too.
    fn end(&self) -> Vec<String> {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !cut.begun.is_empty() {
            cut.line();
        }
        cut.last.iter().cloned().collect()
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut cut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut.take(data);
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
    fn output_comes_in_lines_however_it_arrives() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        let lines = Lines::new(Box::new(move |line| {
            told.lock().unwrap().push(line.to_owned())
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
            lines.0.lock().unwrap().take(part.as_bytes());
        }
        assert_eq!(*seen.lock().unwrap(), ["one", "two", ""]);
        assert_eq!(lines.end().len(), 3);
        assert!(seen.lock().unwrap()[3].starts_with("three"));
    }

    #[test]
    fn only_the_last_lines_are_kept_and_a_long_one_is_cut() {
        let lines = Lines::new(Box::new(|_| {}));
        for number in 0..100 {
            lines
                .0
                .lock()
                .unwrap()
                .take(format!("{number}\n\n").as_bytes());
        }
        assert_eq!(lines.end(), ["95", "96", "97", "98", "99"]);
        lines.0.lock().unwrap().take(&vec![b'x'; MAX_LINE * 3 + 1]);
        let last = lines.end();
        assert_eq!(last.iter().map(String::len).max(), Some(MAX_LINE));
        assert_eq!(last.last().unwrap(), "x");
    }
}
