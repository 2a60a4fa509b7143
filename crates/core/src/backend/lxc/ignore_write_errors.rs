//! A connection that is read to its end, whatever becomes of what is written to it.
//!
//! An engine pings every stream and closes it once it has sent all. The answer to the ping may come after
//! that; its failure would end the reading too, with the last bytes of a command's output still unread.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;

use super::transport::Stream;

/// A websocket of an engine.
pub(super) type Socket = WebSocketStream<IgnoreWriteErrors<Stream>>;

/// A stream to whose other side nothing can be said any more once it has closed; that is no error.
pub(super) struct IgnoreWriteErrors<S>(pub(super) S);

impl<S: AsyncRead + Unpin> AsyncRead for IgnoreWriteErrors<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IgnoreWriteErrors<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(context, data);
        written.map(|written| unless_closed(written, data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.0).poll_flush(context);
        flushed.map(|flushed| unless_closed(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

fn unless_closed<T>(result: io::Result<T>, dropped: T) -> io::Result<T> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    match result {
        Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => Ok(dropped),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::UnixStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[tokio::test]
    async fn what_was_sent_before_the_end_is_read_though_no_answer_can_be_given() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut engine = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let mut socket =
            WebSocketStream::from_raw_socket(IgnoreWriteErrors(ours), Role::Client, None).await;
        engine
            .send(Message::Ping("keepalive".into()))
            .await
            .unwrap();
        engine.send(Message::Binary("said".into())).await.unwrap();
        drop(engine);
        let mut heard = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            heard.push(message);
        }
        assert_eq!(
            heard.last(),
            Some(&Message::Binary("said".into())),
            "{heard:?}"
        );
    }
}
