//! One direction of a connection between two sockets: copied where it is little, by splice(2) where it is much.
//!
//! Moving pages costs a pipe and two calls more than copying: one into the pipe, and one that finds nothing more
//! to take. For a request or an answer that is more than the copy costs.

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

/// Bytes at once from which on they are moved, and up to which they are copied.
const MUCH: usize = 16 * 1024;

/// What was copied.
struct Copied {
    taken: usize,
    /// What the target had no room for.
    rest: Vec<u8>,
}

/// Moves what comes `from` one socket `to` the other until its end, then ends the other's.
pub(super) async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    pipes: &Pipes,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut much = false;
    loop {
        let taken = if much {
            shift(from.as_ref(), to.as_ref(), pipes).await?
        } else {
            let copied = poll_fn(|context| copy(context, &mut from, to.as_ref())).await?;
            if !copied.rest.is_empty() {
                to.write_all(&copied.rest).await?;
            }
            copied.taken
        };
        if taken == 0 {
            return end(to.as_ref());
        }
        count(taken);
        much = taken >= MUCH;
    }
}

/// Copies once. The buffer is gone when it has to wait: an idle connection has none.
fn copy(
    context: &mut Context<'_>,
    from: &mut ReadHalf<'_>,
    to: &TcpStream,
) -> Poll<io::Result<Copied>> {
    let mut buffer = [const { MaybeUninit::uninit() }; MUCH];
    let mut buffer = ReadBuf::uninit(&mut buffer);
    // Tokio takes less than was asked for as a sign that there is no more, and saves the call that says so.
    ready!(Pin::new(from).poll_read(context, &mut buffer))?;
    let bytes = buffer.filled();
    let sent = match bytes {
        // Its end is for the caller.
        [] => Ok(0),
        bytes => to.try_write(bytes),
    };
    let sent = match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        sent => sent?,
    };
    Poll::Ready(Ok(Copied {
        taken: bytes.len(),
        rest: bytes[sent..].to_vec(),
    }))
}

/// Moves once, through a pipe that is held only meanwhile.
async fn shift(from: &TcpStream, to: &TcpStream, pipes: &Pipes) -> io::Result<usize> {
    loop {
        from.readable().await?;
        let pipe = pipes.take().await;
        let taken = from.try_io(Interest::READABLE, || {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(splice(from, None, &pipe.writer, None, PIPE_SIZE, flags)?)
        });
        let taken = match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pipes.give(pipe);
                continue;
            }
            taken => taken?,
        };
        empty(&pipe, to, taken).await?;
        pipes.give(pipe);
        return Ok(taken);
    }
}

/// Moves all that is in the pipe on.
async fn empty(pipe: &Pipe, to: &TcpStream, mut left: usize) -> io::Result<()> {
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

fn end(to: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(to, Shutdown::Write) {
        // The other side has ended the whole connection meanwhile.
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        ended => Ok(ended?),
    }
}
