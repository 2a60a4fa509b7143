//! Connecting to a service that may not be there yet.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::upstream::Upstream;
use crate::backend::GuestStream;
use crate::error::{Error, ErrorKind, Result};

/// Pauses between two tries: short at first, for a service that is just starting, never so long that one
/// which has begun to listen is kept waiting.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

/// Whether an error may pass by itself: nobody listens yet, the env doesn't run, the engine restarts.
#[must_use]
pub fn passes(error: &Error) -> bool {
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

/// Connects, once.
///
/// # Errors
/// The service's; `Timeout` where it hasn't answered until then.
pub(super) async fn dial_once(upstream: &Upstream, end: Instant) -> Result<GuestStream> {
    let dialled = timeout_at(end, upstream.service.dial()).await;
    dialled.unwrap_or_else(|_| Err(no_answer(upstream)))
}

/// Connects; tries again until then.
///
/// # Errors
/// Why the last try failed.
pub(super) async fn dial(upstream: &Upstream, end: Instant) -> Result<GuestStream> {
    let mut pause = PAUSES.0;
    let mut last = None;
    loop {
        let error = match timeout_at(end, upstream.service.dial()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => return Err(last.unwrap_or_else(|| no_answer(upstream))),
        };
        if !passes(&error) || Instant::now() + pause >= end {
            return Err(error);
        }
        last = Some(error);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn no_answer(upstream: &Upstream) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("`{}` doesn't answer", upstream.env.env),
    )
}
