//! One direction of a connection between two sockets, by splice(2).

use std::io;

use rustix::net::Shutdown;
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipes::{PIPE_SIZE, Pipe, Pipes};

/// Moves what comes `from` one socket `to` the other until its end, then ends the other's.
pub(super) async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    pipes: &Pipes,
    count: impl Fn(usize),
) -> io::Result<()> {
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
        if taken == 0 {
            pipes.give(pipe);
            return end(to);
        }
        count(taken);
        empty(&pipe, to, taken).await?;
        pipes.give(pipe);
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
