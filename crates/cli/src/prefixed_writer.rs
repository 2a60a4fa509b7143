//! Output of parallel commands, with a prefix on each line.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Longer lines are split, because a line is buffered until it is complete.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Writes complete lines, each with a prefix.
pub(crate) struct PrefixedWriter<W> {
    prefix: String,
    to: W,
    /// Incomplete line.
    partial: Vec<u8>,
    /// Complete lines that are not written yet.
    ready: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> PrefixedWriter<W> {
    pub(crate) fn new(prefix: String, to: W) -> Self {
        Self {
            prefix,
            to,
            partial: Vec::new(),
            ready: Vec::new(),
        }
    }

    fn end_line(&mut self) {
        self.ready.extend_from_slice(self.prefix.as_bytes());
        self.ready.append(&mut self.partial);
        self.ready.push(b'\n');
    }

    fn buffer(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(line) => {
                    self.partial.extend_from_slice(line);
                    self.end_line();
                }
                None => self.partial.extend_from_slice(part),
            }
            if self.partial.len() > MAX_LINE_BYTES {
                self.end_line();
            }
        }
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        // Bounds the buffer to one write.
        match self.poll_drain(context) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        self.buffer(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_drain(context) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.to).poll_flush(context),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.partial.is_empty() {
            self.end_line();
        }
        // The inner stream is shared and stays open.
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn prefixes_lines_and_completes_the_last_one() {
        let mut written = Vec::new();
        let mut writer = PrefixedWriter::new("dev | ".to_owned(), &mut written);
        for part in ["one\ntw", "o\n", "\nlast"] {
            writer.write_all(part.as_bytes()).await.unwrap();
        }
        writer.shutdown().await.unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "dev | one\ndev | two\ndev | \ndev | last\n"
        );
    }
}
