//! Pipes for splice(2): few, and borrowed only while bytes are on their way.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// How many bytes a pipe is asked to hold.
pub(super) const PIPE_SIZE: usize = 512 * 1024;
/// Pipes that are kept for the next who needs one.
const KEPT: usize = 64;
/// How long to wait where no descriptor is left.
const NO_DESCRIPTOR: Duration = Duration::from_millis(20);

/// A pipe, empty while nobody has it.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) reader: OwnedFd,
    pub(super) writer: OwnedFd,
}

/// The pipes of one process.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    free: Mutex<Vec<Pipe>>,
}

impl Pipes {
    /// An empty pipe. Waits where the process may have no more descriptors.
    pub(super) async fn take(&self) -> Pipe {
        loop {
            let kept = self
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            match kept.map_or_else(make, Ok) {
                Ok(pipe) => return pipe,
                Err(error) => {
                    tracing::warn!(%error, "no pipe");
                    tokio::time::sleep(NO_DESCRIPTOR).await;
                }
            }
        }
    }

    /// Takes an empty one back. One that isn't must be dropped: what is in it is another's.
    pub(super) fn give(&self, pipe: Pipe) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(pipe);
        }
    }
}

fn make() -> rustix::io::Result<Pipe> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // A user has a limit of memory for pipes; a smaller one works too.
    let _ = fcntl_setpipe_size(&writer, PIPE_SIZE);
    Ok(Pipe { reader, writer })
}
