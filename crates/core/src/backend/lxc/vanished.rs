//! Copies of a running guest that fail because a file of it went away meanwhile.
//!
//! On btrfs the engines walk through all files, to find subvolumes, and give up where one is gone that
//! they have just seen: dhclient's temporary files in a guest's boot, say. They take back what they made,
//! so the same can be asked again at once. Seen with LXD 5.0.2.

use crate::error::{Error, ErrorKind, Result};

/// How often it is tried.
const TRIES: usize = 4;

/// Does something again as long as it fails for that reason.
pub(super) async fn again<T, F>(mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _try in 1..TRIES {
        match attempt().await {
            Err(error) if is_vanished(&error) => {
                tracing::info!(?error, "a file went away meanwhile: once more");
            }
            done => return done,
        }
    }
    attempt().await
}

/// The engines say so with words only, Go's.
fn is_vanished(error: &Error) -> bool {
    let words = error.report().message;
    error.kind() == ErrorKind::Engine
        && ["lstat ", "readdirent "]
            .iter()
            .any(|step| words.contains(step))
        && words.contains("no such file or directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "LXD: Create instance snapshot: lstat /pools/default/containers/ha-s/rootfs/etc/\
                        resolv.conf.dhclient-new.63: no such file or directory";
    const SEEN_OF_A_DIRECTORY: &str = "LXD: Create instance snapshot: readdirent /pools/default/containers/\
                        ha-s/rootfs/tmp/systemd-private-d319-systemd-logind.service-CW5UJj: no such \
                        file or directory";

    async fn tries(kind: ErrorKind, words: &str, until: usize) -> (usize, bool) {
        let mut tried = 0;
        let done = again(|| {
            tried += 1;
            std::future::ready(match tried < until {
                true => Err(Error::new(kind, words)),
                false => Ok(()),
            })
        });
        let ended = done.await.is_ok();
        (tried, ended)
    }

    #[tokio::test]
    async fn it_is_tried_again_a_few_times_and_for_that_reason_only() {
        assert_eq!(tries(ErrorKind::Engine, SEEN, 3).await, (3, true));
        assert_eq!(tries(ErrorKind::Engine, SEEN, 9).await, (TRIES, false));
        assert_eq!(
            tries(ErrorKind::Engine, SEEN_OF_A_DIRECTORY, 2).await,
            (2, true)
        );
        assert_eq!(
            tries(ErrorKind::Engine, "no space left", 9).await,
            (1, false)
        );
        assert_eq!(tries(ErrorKind::Unreachable, SEEN, 9).await, (1, false));
    }
}
