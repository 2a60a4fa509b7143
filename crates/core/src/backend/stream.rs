//! Byte streams to services in guests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A byte stream that is not a local socket, such as an SSH channel.
pub trait Channel: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Channel for T {}

/// A byte stream to a service in a guest. Shutdown is a half-close: data from the service still arrives.
pub enum GuestStream {
    /// A socket; the kernel can copy its data.
    Socket(TcpStream),
    Channel(Box<dyn Channel>),
}

impl GuestStream {
    /// Buffer size for copying: one SSH packet.
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
