//! Output of several commands at once: each line bears the name of where it comes from.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Longer lines are broken: they wait in memory until they are whole.
const LONGEST: usize = 64 * 1024;

/// Writes whole lines, each with a label before it.
pub(crate) struct PrefixedWriter<W> {
    label: String,
    to: W,
    /// What isn't a whole line yet.
    begun: Vec<u8>,
    /// What is on its way.
    ready: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> PrefixedWriter<W> {
    pub(crate) fn new(label: String, to: W) -> Self {
        Self {
            label,
            to,
            begun: Vec::new(),
            ready: Vec::new(),
        }
    }

    fn end_line(&mut self) {
        self.ready.extend_from_slice(self.label.as_bytes());
        self.ready.append(&mut self.begun);
        self.ready.push(b'\n');
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(line) => {
                    self.begun.extend_from_slice(line);
                    self.end_line();
                }
                None => self.begun.extend_from_slice(part),
            }
            if self.begun.len() > LONGEST {
                self.end_line();
            }
        }
    }

    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ready.is_empty() {
            match Pin::new(&mut self.to).poll_write(context, &self.ready) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => drop(self.ready.drain(..written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for PrefixedWriter<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What came before has to be out, so that no more than one piece waits here.
        match self.drain(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.drain(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.to).poll_flush(context),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            self.end_line();
        }
        // The stream below is shared, and stays open.
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn each_line_is_labelled_and_the_last_one_is_ended() {
        let mut written = Vec::new();
        let mut labelled = PrefixedWriter::new("dev | ".to_owned(), &mut written);
        for part in ["one\ntw", "o\n", "\nlast"] {
            labelled.write_all(part.as_bytes()).await.unwrap();
        }
        labelled.shutdown().await.unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "dev | one\ndev | two\ndev | \ndev | last\n"
        );
    }
}
