//! One direction of a connection between two sockets: small transfers are copied, large ones use splice(2).
//!
//! splice costs a pipe and two more system calls, which is more than copying a request or a response.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::Shutdown;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::pipes::{PIPE_SIZE, Pipe, Pipes};

/// Buffer size for copying. Reads of this size switch to splice.
const SPLICE_THRESHOLD: usize = 16 * 1024;

/// Result of a copy.
struct Copied {
    received: usize,
    /// Bytes that the target did not accept yet.
    rest: Vec<u8>,
}

/// Transfers bytes until the end of `from`, then half-closes `to`.
pub(super) async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    pipes: &Pipes,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut large = false;
    loop {
        let received = if large {
            splice_once(from.as_ref(), to.as_ref(), pipes).await?
        } else {
            let copied = poll_fn(|context| copy(context, &mut from, to.as_ref())).await?;
            if !copied.rest.is_empty() {
                to.write_all(&copied.rest).await?;
            }
            copied.received
        };
        if received == 0 {
            return half_close(to.as_ref());
        }
        count(received);
        large = received >= SPLICE_THRESHOLD;
    }
}

/// Copies once. The buffer is on the stack, so idle connections have none.
fn copy(
    context: &mut Context<'_>,
    from: &mut ReadHalf<'_>,
    to: &TcpStream,
) -> Poll<io::Result<Copied>> {
    let mut buffer = [const { MaybeUninit::uninit() }; SPLICE_THRESHOLD];
    let mut buffer = ReadBuf::uninit(&mut buffer);
    // Tokio treats a short read as the end of available data and saves a system call.
    ready!(Pin::new(from).poll_read(context, &mut buffer))?;
    let bytes = buffer.filled();
    let sent = match bytes {
        // The caller handles the end.
        [] => Ok(0),
        bytes => to.try_write(bytes),
    };
    let sent = match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        sent => sent?,
    };
    Poll::Ready(Ok(Copied {
        received: bytes.len(),
        rest: bytes[sent..].to_vec(),
    }))
}

/// Splices once through a pooled pipe.
async fn splice_once(from: &TcpStream, to: &TcpStream, pipes: &Pipes) -> io::Result<usize> {
    loop {
        from.readable().await?;
        let pipe = pipes.take().await;
        let received = from.try_io(Interest::READABLE, || {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(splice(from, None, &pipe.writer, None, PIPE_SIZE, flags)?)
        });
        let received = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pipes.put(pipe);
                continue;
            }
            received => received?,
        };
        drain_pipe(&pipe, to, received).await?;
        pipes.put(pipe);
        return Ok(received);
    }
}

/// Splices the content of the pipe to the target.
async fn drain_pipe(pipe: &Pipe, to: &TcpStream, mut left: usize) -> io::Result<()> {
    while left > 0 {
        let moved = to.try_io(Interest::WRITABLE, || {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(splice(&pipe.reader, None, to, None, left, flags)?)
        });
        match moved {
            Ok(moved) => left -= moved,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn half_close(to: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(to, Shutdown::Write) {
        // The peer closed the connection meanwhile.
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        ended => Ok(ended?),
    }
}
