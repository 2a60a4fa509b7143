//! Pool of pipes for splice(2). Connections borrow one only during a transfer.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Requested capacity in bytes.
pub(super) const PIPE_SIZE: usize = 512 * 1024;
/// Maximum number of pooled pipes.
const MAX_POOLED: usize = 64;
/// Retry interval without free descriptors.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A pipe, empty while pooled.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) reader: OwnedFd,
    pub(super) writer: OwnedFd,
}

/// Pipe pool of the process.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    free: Mutex<Vec<Pipe>>,
}

impl Pipes {
    /// Returns an empty pipe. Waits if no descriptor is free.
    pub(super) async fn take(&self) -> Pipe {
        loop {
            let pooled = self
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            match pooled.map_or_else(create, Ok) {
                Ok(pipe) => return pipe,
                Err(error) => {
                    tracing::warn!(%error, "cannot create pipe");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    /// Returns an empty pipe to the pool. A pipe with data must be dropped instead.
    pub(super) fn put(&self, pipe: Pipe) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_POOLED {
            free.push(pipe);
        }
    }
}

fn create() -> rustix::io::Result<Pipe> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Fails at the user's pipe memory limit; a smaller pipe works too.
    let _ = fcntl_setpipe_size(&writer, PIPE_SIZE);
    Ok(Pipe { reader, writer })
}
