//! Requests that are safe to repeat after certain failures of the engine. It changed nothing, or rolled back, in each case.

use std::time::Duration;

use backon::{ConstantBuilder, ExponentialBuilder, Retryable};

use crate::error::{Error, ErrorKind, Result};

/// Delays while the engine is busy; in total longer than its own timeouts for such work.
const BUSY_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(20))
    .with_max_delay(Duration::from_secs(1))
    .with_total_delay(Some(Duration::from_secs(45)))
    .without_max_times();
/// Retries of a copy that loses a race with the guest.
const COPY_RETRIES: usize = 3;

/// Retries while the engine still works on the instance: LXD 5.0.2 tears down network and disks of
/// a stopped instance after the operation's end, and mounts a snapshot read-only while publishing it.
pub(super) async fn while_busy<T, F>(attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    attempt
        .retry(BUSY_BACKOFF)
        .when(is_busy)
        .notify(|error, _| tracing::info!(?error, "the engine is busy: retrying"))
        .await
}

/// Retries a copy that failed because a file vanished: on btrfs the engines walk all files of a
/// running guest to find subvolumes (seen with LXD 5.0.2 and dhclient's temporary files).
pub(super) async fn on_vanished_file<T, F>(attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let at_once = ConstantBuilder::new().with_delay(Duration::ZERO);
    attempt
        .retry(at_once.with_max_times(COPY_RETRIES))
        .when(is_vanished_file)
        .notify(|error, _| tracing::info!(?error, "a file vanished during the copy: retrying"))
        .await
}

// The engines have no error codes for these cases, only messages.

fn is_busy(error: &Error) -> bool {
    let message = error.report().message;
    let is_locked = message.contains("nstance is busy running a");
    let is_published = message.contains("Failed setting subvolume writable")
        && message.contains("Read-only file system");
    error.kind() == ErrorKind::Engine && (is_locked || is_published)
}

fn is_vanished_file(error: &Error) -> bool {
    let message = error.report().message;
    error.kind() == ErrorKind::Engine
        && ["lstat ", "readdirent "]
            .iter()
            .any(|call| message.contains(call))
        && message.contains("no such file or directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: &str = "LXD: Failed to create instance restore operation: Instance is busy running a \"stop\" \
                        operation";
    const PUBLISHED: &str = "LXD: Failed setting subvolume writable \"/s/containers-snapshots/dev/ldm-undo-0ced4603\": \
                             Failed to run: btrfs property set -f -ts /s/… ro false: exit status 1 (ERROR: Could not \
                             set subvolume flags: Read-only file system)";
    const VANISHED_FILE: &str = "LXD: Create instance snapshot: lstat /pools/default/containers/ha-s/rootfs/etc/\
                                 resolv.conf.dhclient-new.63: no such file or directory";
    const VANISHED_DIRECTORY: &str = "LXD: Create instance snapshot: readdirent /pools/default/containers/ha-s/rootfs/\
                                      tmp/systemd-private-d319-systemd-logind.service-CW5UJj: no such file or \
                                      directory";

    /// An operation that succeeds at the given attempt.
    struct Flaky {
        kind: ErrorKind,
        message: &'static str,
        succeeds_at: usize,
        attempts: usize,
    }

    impl Flaky {
        fn new(message: &'static str, succeeds_at: usize) -> Self {
            Self {
                kind: ErrorKind::Engine,
                message,
                succeeds_at,
                attempts: 0,
            }
        }

        fn attempt(&mut self) -> std::future::Ready<Result<()>> {
            self.attempts += 1;
            std::future::ready(if self.attempts < self.succeeds_at {
                Err(Error::new(self.kind, self.message))
            } else {
                Ok(())
            })
        }

        async fn while_busy(mut self) -> (usize, bool) {
            let result = while_busy(|| self.attempt()).await;
            (self.attempts, result.is_ok())
        }

        async fn on_vanished_file(mut self) -> (usize, bool) {
            let result = on_vanished_file(|| self.attempt()).await;
            (self.attempts, result.is_ok())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_a_busy_engine_until_the_timeout() {
        assert_eq!(Flaky::new(BUSY, 5).while_busy().await, (5, true));
        assert_eq!(Flaky::new(PUBLISHED, 5).while_busy().await, (5, true));
        let (attempts, succeeded) = Flaky::new(BUSY, 1000).while_busy().await;
        assert!(!succeeded && attempts > 40, "{attempts}");
        let other = Flaky::new("no space left", 5);
        assert_eq!(other.while_busy().await, (1, false));
    }

    #[tokio::test]
    async fn retries_a_copy_a_few_times_after_a_vanished_file() {
        let file = |succeeds_at| Flaky::new(VANISHED_FILE, succeeds_at);
        assert_eq!(file(3).on_vanished_file().await, (3, true));
        assert_eq!(file(9).on_vanished_file().await, (COPY_RETRIES + 1, false));
        let directory = Flaky::new(VANISHED_DIRECTORY, 2);
        assert_eq!(directory.on_vanished_file().await, (2, true));
        let other = Flaky::new("no space left", 9);
        assert_eq!(other.on_vanished_file().await, (1, false));
        let unreachable = Flaky {
            kind: ErrorKind::Unreachable,
            ..file(9)
        };
        assert_eq!(unreachable.on_vanished_file().await, (1, false));
    }
}
