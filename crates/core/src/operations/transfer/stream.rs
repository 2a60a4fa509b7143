//! Streams of a copy: pipes between the runtime and threads, and how far they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::task::TaskTracker;

use super::guest::ensure_success;
use crate::backend::{Output, Progress};
use crate::error::{Error, Result};

pub(super) const COPYING: &str = "copying files";
/// Capacity of a pipe, in bytes.
#[cfg(target_os = "linux")]
const PIPE_CAPACITY: usize = 1 << 20;

/// The result of both ends. A guest that stops reading breaks the pipe, and knows the reason.
pub(super) fn finish<T>(received: Output, sent: Result<T>) -> Result<T> {
    match (ensure_success(&received), sent) {
        (Ok(()), sent) => sent,
        // The guest only saw that the stream ended early.
        (Err(_), Err(error)) if !is_broken_pipe(&error) => Err(error),
        // `tar` does not always say why it could not write.
        (Err(error), _) => {
            Err(error.with_hint("check its disk: `lxc-dev-manager exec NAME -- df -h`"))
        }
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::BrokenPipe;
        }
        cause = inner.source();
    }
    false
}

/// A pipe: the runtime reads one end, a thread writes the other.
pub(super) fn pipe() -> Result<(tokio::net::unix::pipe::Receiver, std::io::PipeWriter)> {
    let failed = |error| Error::io("cannot create a pipe", error);
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    widen(&writer);
    let reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into());
    Ok((reader.map_err(failed)?, writer))
}

/// Enlarges a pipe beyond 64 KiB where the system allows it.
pub(super) fn widen(pipe: &impl std::os::fd::AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_CAPACITY);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// Runs blocking work on a thread. It continues if the future is dropped; `threads` waits for its end.
pub(super) async fn blocking<T: Send + 'static>(
    threads: &TaskTracker,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    threads
        .spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Bytes to copy; 0 while unknown.
pub(super) type TotalBytes = Arc<AtomicU64>;

/// Reports progress at every percent, or at every MiB while the total is unknown.
pub(super) struct CopyProgress {
    progress: Progress,
    total: TotalBytes,
    last_percent: Option<u8>,
    last_mib: u64,
}

impl CopyProgress {
    pub(super) fn new(progress: Progress, total: TotalBytes) -> Self {
        Self {
            progress,
            total,
            last_percent: None,
            last_mib: 0,
        }
    }

    pub(super) fn at(&mut self, bytes: u64) {
        let percent = (bytes.saturating_mul(100))
            .checked_div(self.total.load(Ordering::Relaxed))
            .and_then(|percent| u8::try_from(percent.min(100)).ok());
        if percent.is_some() && percent != self.last_percent {
            self.last_percent = percent;
            self.progress.step(COPYING, percent);
        } else if percent.is_none() && bytes >> 20 > self.last_mib {
            self.last_mib = bytes >> 20;
            self.progress.bytes(COPYING, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn reports_bytes_until_the_total_is_known() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let sink = reported.clone();
        let progress = Progress::new(move |step| {
            sink.lock().unwrap().push((step.percent, step.bytes));
        });
        let total = TotalBytes::default();
        let mut progress = CopyProgress::new(progress, total.clone());
        for bytes in [1000, 2 << 20, (2 << 20) + 1] {
            progress.at(bytes);
        }
        total.store(8 << 20, Ordering::Relaxed);
        for bytes in [4 << 20, (4 << 20) + 1, 9 << 20] {
            progress.at(bytes);
        }
        let expected = [(None, Some(2 << 20)), (Some(50), None), (Some(100), None)];
        assert_eq!(*reported.lock().unwrap(), expected);
    }
}
