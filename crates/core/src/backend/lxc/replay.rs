//! Input that can be read a second time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are kept: more than wait on their way to the guest, so what was read of a command that never
/// began is among them.
const LIMIT: usize = 1 << 20;

/// A reader whose first bytes are kept, in case the command that they were for never started.
pub(super) struct Replay {
    inner: Box<dyn AsyncRead + Send + Unpin>,
    /// What was read so far; `None` once it was too much to keep.
    kept: Option<Vec<u8>>,
    /// How much of it has been given out.
    given: usize,
}

impl Replay {
    pub(super) fn new(inner: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self {
            inner,
            kept: Some(Vec::new()),
            given: 0,
        }
    }

    /// Starts over; `false` where that is no longer possible.
    pub(super) fn rewind(&mut self) -> bool {
        self.given = 0;
        self.kept.is_some()
    }
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(kept) = &this.kept
            && this.given < kept.len()
        {
            let rest = &kept[this.given..];
            let length = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..length]);
            this.given += length;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        let new = &buffer.filled()[before..];
        match &mut this.kept {
            Some(kept) if kept.len() + new.len() <= LIMIT => {
                kept.extend_from_slice(new);
                this.given = kept.len();
            }
            _ => this.kept = None,
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_was_read_can_be_read_again() {
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
    async fn too_much_is_not_kept() {
        let mut replay = Replay::new(Box::new(io::Cursor::new(vec![7; LIMIT + 1])));
        let mut all = Vec::new();
        replay.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), LIMIT + 1);
        assert!(!replay.rewind());
    }
}
