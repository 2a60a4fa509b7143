//! Pipes through which the kernel moves bytes. A connection has one only while bytes are on their way.

use std::os::fd::OwnedFd;

use rustix::io::Result;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Bytes that a pipe shall hold. The kernel gives less where this user has many.
pub(crate) const SIZE: usize = 512 * 1024;
/// Empty pipes that are kept for the next who needs one.
const SPARE: usize = 16;

/// A pipe, empty unless its holder knows better.
pub(crate) struct Pipe {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
}

/// Pipes that nobody needs now.
#[derive(Default)]
pub(crate) struct Pipes(Vec<Pipe>);

impl Pipes {
    pub(crate) fn take(&mut self) -> Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one does it too, with more calls.
        let _ = fcntl_setpipe_size(&writer, SIZE);
        Ok(Pipe { reader, writer })
    }

    /// Takes back a pipe that is empty.
    pub(crate) fn give(&mut self, pipe: Pipe) {
        if self.0.len() < SPARE {
            self.0.push(pipe);
        }
    }
}
