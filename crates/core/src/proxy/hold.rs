//! Dials a service that may not be ready yet.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout_at};

use super::upstream::Upstream;
use crate::backend::GuestStream;
use crate::error::{Error, ErrorKind, Result};

/// Short delays, so that a service that starts is reached at once.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(5))
    .with_max_delay(Duration::from_millis(40))
    .without_max_times();

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
    let mut delays = BACKOFF.build();
    let mut last = None;
    loop {
        let error = match timeout_at(end, upstream.service.dial()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => return Err(last.unwrap_or_else(|| not_responding(upstream))),
        };
        let delay = delays.next().unwrap_or_default();
        if !is_transient(&error) || Instant::now() + delay >= end {
            return Err(error);
        }
        last = Some(error);
        sleep(delay).await;
    }
}

fn not_responding(upstream: &Upstream) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("`{}` is not responding", upstream.env.env),
    )
}
