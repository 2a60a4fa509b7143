//! A client stream that counts bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::traffic::{Direction, Traffic};

pub(super) struct Counted<'a> {
    client: &'a mut TcpStream,
    traffic: &'a Traffic,
}

impl<'a> Counted<'a> {
    pub(super) fn new(client: &'a mut TcpStream, traffic: &'a Traffic) -> Self {
        Self { client, traffic }
    }
}

impl AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.client).poll_read(context, buffer);
        self.traffic
            .count(Direction::ToGuest, buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.client).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.traffic.count(Direction::ToClient, written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.client).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.client).poll_shutdown(context)
    }
}
