//! Sends error responses to refused clients.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::page::Page;
use super::sniff::Protocol;

/// Time for the client to read the response and close.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit of request bytes discarded meanwhile: unread bytes would cause a reset, and the response would be lost.
const MAX_DISCARDED_BYTES: u64 = 1024 * 1024;

/// Responds in the client's protocol, if known, and ends the connection.
pub(super) async fn refuse(
    client: TcpStream,
    bytes: Vec<u8>,
    protocol: Option<Protocol>,
    page: &Page,
) {
    let sent = async {
        match protocol {
            None => Ok(()),
            Some(Protocol::Http2) => respond_http2(Prefixed { bytes, client }, page).await,
            Some(protocol) => respond(client, &page.bytes(protocol)).await,
        }
    };
    match tokio::time::timeout(DRAIN_TIMEOUT, sent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "client left before the response"),
        Err(_) => tracing::debug!("client did not read the response"),
    }
}

async fn respond(mut client: TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.shutdown().await?;
    tokio::io::copy(
        &mut client.take(MAX_DISCARDED_BYTES),
        &mut tokio::io::sink(),
    )
    .await?;
    Ok(())
}

async fn respond_http2(client: Prefixed, page: &Page) -> io::Result<()> {
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
    // Ends after the client received everything.
    while connection.accept().await.is_some() {}
    Ok(())
}

/// A client with already read bytes in front.
struct Prefixed {
    bytes: Vec<u8>,
    client: TcpStream,
}

impl AsyncRead for Prefixed {
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

impl AsyncWrite for Prefixed {
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
