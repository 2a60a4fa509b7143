//! Dials a service that may not be ready yet.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::upstream::Upstream;
use crate::backend::GuestStream;
use crate::error::{Error, ErrorKind, Result};

/// Retry intervals, doubled from the first to the second. Short, so that a service that starts is reached at once.
const RETRY_INTERVALS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

/// Whether an error may be temporary: nothing listens yet, the env is not running, the engine restarts.
#[must_use]
pub fn is_transient(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Guest
            | ErrorKind::Conflict
            | ErrorKind::NotFound
            | ErrorKind::Unreachable
            | ErrorKind::Timeout
            | ErrorKind::Engine
    )
}

/// Dials once.
///
/// # Errors
/// Those of the service; `Timeout` at `end`.
pub(super) async fn dial_once(upstream: &Upstream, end: Instant) -> Result<GuestStream> {
    let dialled = timeout_at(end, upstream.service.dial()).await;
    dialled.unwrap_or_else(|_| Err(not_responding(upstream)))
}

/// Dials and retries until `end`.
///
/// # Errors
/// That of the last try.
pub(super) async fn dial(upstream: &Upstream, end: Instant) -> Result<GuestStream> {
    let mut interval = RETRY_INTERVALS.0;
    let mut last = None;
    loop {
        let error = match timeout_at(end, upstream.service.dial()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => return Err(last.unwrap_or_else(|| not_responding(upstream))),
        };
        if !is_transient(&error) || Instant::now() + interval >= end {
            return Err(error);
        }
        last = Some(error);
        sleep(interval).await;
        interval = (interval * 2).min(RETRY_INTERVALS.1);
    }
}

fn not_responding(upstream: &Upstream) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("`{}` is not responding", upstream.env.env),
    )
}
