//! Changes that an engine refuses because it is still at work on the instance.
//!
//! The operation of a stop may have ended while the engine holds the instance for a moment: it takes its network and disks
//! apart then. Nothing was changed where it says so, and it can be asked again. Seen with LXD 5.0.2, once in a few hundred
//! stops. And a snapshot of which LXD makes an image, for a client that is gone perhaps, is mounted read-only meanwhile: on
//! btrfs it can't be deleted then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Error, ErrorKind, Result};

/// How long an engine may hold an instance: longer than its own timeout with what it does then.
const TIMEOUT: Duration = Duration::from_secs(45);
/// Between two attempts, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Does something again as long as it fails for that reason.
pub(super) async fn wait_out<T, F>(mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (begun, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        match attempt().await {
            Err(error) if is_busy(&error) && begun.elapsed() < TIMEOUT => {
                tracing::info!(?error, "the engine is still at it: once more");
            }
            done => return done,
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// The engines say so with words only.
fn is_busy(error: &Error) -> bool {
    let words = error.report().message;
    let is_held = words.contains("nstance is busy running a");
    let is_packed = words.contains("Failed setting subvolume writable")
        && words.contains("Read-only file system");
    error.kind() == ErrorKind::Engine && (is_held || is_packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "LXD: Failed to create instance restore operation: Instance is busy running a \"stop\" \
                        operation";

    const PACKED: &str = "LXD: Failed setting subvolume writable \"/s/containers-snapshots/dev/ldm-undo-0ced4603\": \
                          Failed to run: btrfs property set -f -ts /s/… ro false: exit status 1 (ERROR: Could not set \
                          subvolume flags: Read-only file system)";

    async fn tries(words: &str, until: usize) -> (usize, bool) {
        let mut tried = 0;
        let done = wait_out(|| {
            tried += 1;
            std::future::ready(match tried < until {
                true => Err(Error::new(ErrorKind::Engine, words)),
                false => Ok(()),
            })
        });
        let ended = done.await.is_ok();
        (tried, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_for_a_while_and_for_that_reason_only() {
        assert_eq!(tries(SEEN, 5).await, (5, true));
        assert_eq!(tries(PACKED, 5).await, (5, true));
        let (tried, ended) = tries(SEEN, 1000).await;
        assert!(!ended && tried > 40, "{tried}");
        assert_eq!(tries("no space left", 5).await, (1, false));
    }
}
