//! A connection that is read to its end even if writes fail.
//!
//! An engine pings every stream and closes it after the last byte. The pong may come after the
//! close; its failure must not end the reading, or a command's last output is lost.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;

use super::transport::Stream;

/// A websocket of an engine.
pub(super) type Socket = WebSocketStream<IgnoreWriteErrors<Stream>>;

/// Ignores failed writes to a closed stream.
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
    async fn reads_data_sent_before_the_close_despite_a_failed_pong() {
        let (local, remote) = UnixStream::pair().unwrap();
        let mut engine = WebSocketStream::from_raw_socket(remote, Role::Server, None).await;
        let mut socket =
            WebSocketStream::from_raw_socket(IgnoreWriteErrors(local), Role::Client, None).await;
        engine
            .send(Message::Ping("keepalive".into()))
            .await
            .unwrap();
        engine.send(Message::Binary("output".into())).await.unwrap();
        drop(engine);
        let mut received = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            received.push(message);
        }
        assert_eq!(
            received.last(),
            Some(&Message::Binary("output".into())),
            "{received:?}"
        );
    }
}
