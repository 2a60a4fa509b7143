//! Byte streams to services in guests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A byte stream that is no socket of this machine: a channel in another connection, say.
pub trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

/// A byte stream to a service in a guest. Shutting it down is a half-close: what the service still
/// sends arrives.
pub enum GuestStream {
    /// A socket, whose bytes the kernel can move by itself.
    Socket(TcpStream),
    /// Anything else.
    Channel(Box<dyn Channel>),
}

impl GuestStream {
    /// Bytes that are best passed on at once where they are copied: a packet of SSH's.
    pub const PACKET: usize = 32 * 1024;

    fn inner(self: Pin<&mut Self>) -> Pin<&mut (dyn Channel + '_)> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket),
            Self::Channel(channel) => Pin::new(channel.as_mut()),
        }
    }
}

impl AsyncRead for GuestStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(context, buffer)
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}
