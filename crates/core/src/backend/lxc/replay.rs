//! Input that can be read twice.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Exceeds the bytes in transit to a guest, so everything sent to a command that did not start is
/// in the buffer.
const MAX_BUFFER_BYTES: usize = 1 << 20;

/// A reader that buffers its first bytes for another attempt to run a command.
pub(super) struct Replay {
    inner: Box<dyn AsyncRead + Send + Unpin>,
    /// `None` after more than [`MAX_BUFFER_BYTES`].
    buffered: Option<Vec<u8>>,
    /// Bytes of the buffer that were read.
    position: usize,
}

impl Replay {
    pub(super) fn new(inner: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self {
            inner,
            buffered: Some(Vec::new()),
            position: 0,
        }
    }

    /// Starts again from the first byte; `false` if they are no longer buffered.
    pub(super) fn rewind(&mut self) -> bool {
        self.position = 0;
        self.buffered.is_some()
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(buffered) = &this.buffered
            && this.position < buffered.len()
        {
            let rest = &buffered[this.position..];
            let length = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..length]);
            this.position += length;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        let new = &buffer.filled()[before..];
        match &mut this.buffered {
            Some(buffered) if buffered.len() + new.len() <= MAX_BUFFER_BYTES => {
                buffered.extend_from_slice(new);
                this.position = buffered.len();
            }
            _ => this.buffered = None,
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn rewinds_to_the_first_byte() {
        let mut replay = Replay::new(Box::new(io::Cursor::new(b"hello world".to_vec())));
        let mut first = [0; 5];
        replay.read_exact(&mut first).await.unwrap();
        assert!(replay.rewind());
        let mut all = String::new();
        replay.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "hello world");
        assert!(replay.rewind());
    }

    #[tokio::test]
    async fn does_not_rewind_beyond_the_buffer() {
        let mut replay = Replay::new(Box::new(io::Cursor::new(vec![7; MAX_BUFFER_BYTES + 1])));
        let mut all = Vec::new();
        replay.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), MAX_BUFFER_BYTES + 1);
        assert!(!replay.rewind());
    }
}
