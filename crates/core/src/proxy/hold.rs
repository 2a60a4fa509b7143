//! Connecting to a service that may not be there yet.

use std::time::Duration;

use tokio::net::TcpStream;
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

/// Connects; tries again until `patience` is over.
///
/// # Errors
/// Why the last try failed.
pub(super) async fn dial(upstream: &Upstream, patience: Duration) -> Result<GuestStream> {
    let end = Instant::now() + patience;
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

/// Resolves when the client has gone away without having sent anything more.
pub(super) async fn gone(client: &TcpStream) {
    let mut byte = [0];
    match client.peek(&mut byte).await {
        Ok(0) | Err(_) => {}
        // It has more to say; until that is taken, its end can't be seen.
        Ok(_) => std::future::pending().await,
    }
}
