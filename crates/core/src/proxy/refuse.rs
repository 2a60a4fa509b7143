//! Telling a client why it doesn't get what it asked for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::page::Page;
use super::sniff::Protocol;

/// How long a client may take to read its answer and go.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of what it still sends is read away meanwhile: unread bytes would make the system reset the
/// connection, and the answer would be lost.
const REMAINDER: u64 = 1024 * 1024;

/// RemoteAnswers in the client's protocol and ends the connection; without one it is only ended.
pub(super) async fn refuse(
    client: TcpStream,
    bytes: Vec<u8>,
    protocol: Option<Protocol>,
    page: &Page,
) {
    let told = async {
        match protocol {
            None => Ok(()),
            Some(Protocol::Http2) => tell_http2(Behind { bytes, client }, page).await,
            Some(protocol) => tell(client, &page.bytes(protocol)).await,
        }
    };
    match tokio::time::timeout(DRAIN_TIMEOUT, told).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client left before it was told"),
        Err(_) => tracing::debug!("a client doesn't read what it is told"),
    }
}

async fn tell(mut client: TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.shutdown().await?;
    tokio::io::copy(&mut client.take(REMAINDER), &mut tokio::io::sink()).await?;
    Ok(())
}

async fn tell_http2(client: Behind, page: &Page) -> io::Result<()> {
    let mut connection = h2::server::handshake(client)
        .await
        .map_err(io::Error::other)?;
    let Some(request) = connection.accept().await else {
        return Ok(());
    };
    let (_, mut respond) = request.map_err(io::Error::other)?;
    let status = StatusCode::from_u16(page.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = Response::new(());
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, plain);
    let mut body = respond
        .send_response(response, false)
        .map_err(io::Error::other)?;
    let text = page.bytes(Protocol::Http2).into();
    body.send_data(text, true).map_err(io::Error::other)?;
    connection.graceful_shutdown();
    // Ends when the client has what it was sent.
    while connection.accept().await.is_some() {}
    Ok(())
}

/// A client, with what was read of it already in front.
struct Behind {
    bytes: Vec<u8>,
    client: TcpStream,
}

impl AsyncRead for Behind {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.client).poll_read(context, buffer);
        }
        let length = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..length]);
        self.bytes.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Behind {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.client).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_shutdown(context)
    }
}
