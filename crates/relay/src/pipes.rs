//! Pipes for splice. A connection has one only while bytes are in transit.

use std::os::fd::OwnedFd;

use rustix::io::Result;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Requested capacity in bytes. The kernel grants less to a user with many pipes.
pub(crate) const SIZE: usize = 512 * 1024;
const MAX_POOLED: usize = 16;

pub(crate) struct Pipe {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
}

/// A pool of empty pipes.
#[derive(Default)]
pub(crate) struct Pipes(Vec<Pipe>);

impl Pipes {
    pub(crate) fn take(&mut self) -> Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one only needs more calls.
        let _ = fcntl_setpipe_size(&writer, SIZE);
        Ok(Pipe { reader, writer })
    }

    /// Returns an empty pipe to the pool.
    pub(crate) fn put(&mut self, pipe: Pipe) {
        if self.0.len() < MAX_POOLED {
            self.0.push(pipe);
        }
    }
}
