//! From the host into an env.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio_util::io::InspectReader;
use tokio_util::task::TaskTracker;

use super::pack::{self, Owner};
use super::{Landing, RECEIVE, TransferRequest, Transferred, expect_success, look};
use crate::backend::{Content, GuestFile, Output, Ownership, Progress, receive_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;
use crate::operations::Operations;
use crate::operations::operation::Operation;
use crate::operations::resolve::ResolvedEnv;
use crate::project::Project;

/// What is being done, in words.
const COPYING: &str = "copying";
/// Bytes that may wait in a pipe.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

impl Operations {
    pub(super) async fn push(
        self: &Arc<Self>,
        project: &Project,
        from: &Path,
        (env, path): (&EnvName, &str),
        request: &TransferRequest,
        operation: &mut Operation,
    ) -> Result<Transferred> {
        let source = from.to_path_buf();
        let whole = blocking(&operation.threads, move || pack::measure(&source)).await;
        let whole = whole.map_err(|error| unreadable(from, error))?;
        let (resolved, user) = self.resolve_running(project, env).await?;
        let name = from.file_name().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default();
        let landing = look(&resolved, &user, path, &name, request.make_directories).await?;
        let (journal, staging) = self.stage_in_guest(operation, &resolved, &landing)?;
        self.step(operation, COPYING);
        let progress = self.progress(operation);
        let sent = send(
            from,
            whole,
            &resolved,
            &landing,
            &staging,
            progress.clone(),
            &operation.threads,
        );
        let packed = sent.await?;
        let packed = send_big(packed, whole, &resolved, &landing, &staging, progress).await?;
        let counted = Transferred {
            target: landing.target,
            files: packed.files,
            bytes: packed.bytes,
            skipped: packed.skipped,
        };
        self.put_in_place(operation, &resolved, &staging, journal, counted)
            .await
    }
}

/// Writes the stream on a thread of its own, through a pipe, into the guest.
async fn send(
    from: &Path,
    whole: u64,
    resolved: &ResolvedEnv,
    landing: &Landing,
    staging: &str,
    progress: Progress,
    threads: &TaskTracker,
) -> Result<pack::Packed> {
    let (reader, writer) = pipe()?;
    let owner = Owner {
        uid: landing.uid,
        gid: landing.gid,
    };
    let source: PathBuf = from.to_path_buf();
    let packed = blocking(threads, move || {
        let mut said = Percent::new(progress, Arc::new(whole.into()));
        pack::pack(&source, owner, writer, &mut |bytes| said.at(bytes))
    });
    let [owned, missing] = landing.arguments();
    let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
    let arguments = [staging, owned.as_str(), missing.as_str()];
    let received = receive_script(backend, instance, RECEIVE, &arguments, reader);
    let (packed, received) = tokio::join!(packed, received);
    finish(received?, packed.map_err(|error| unreadable(from, error)))
}

/// Hands the big files to the engine, which writes them itself, where the directories already are.
async fn send_big(
    mut packed: pack::Packed,
    whole: u64,
    resolved: &ResolvedEnv,
    landing: &Landing,
    staging: &str,
    progress: Progress,
) -> Result<pack::Packed> {
    let said = Arc::new(Mutex::new(Percent::new(progress, Arc::new(whole.into()))));
    for big in std::mem::take(&mut packed.big) {
        let file = tokio::fs::File::open(&big.path).await;
        let file = file.map_err(|error| unreadable(&big.path, error))?;
        let (mut done, said) = (packed.bytes, said.clone());
        // As in a stream: whoever writes into it now doesn't make it longer.
        let counted = InspectReader::new(file.take(big.size), move |piece: &[u8]| {
            done += piece.len() as u64;
            said.lock().unwrap_or_else(PoisonError::into_inner).at(done);
        });
        let file = GuestFile {
            ownership: Ownership {
                uid: landing.uid,
                gid: landing.gid,
                mode: big.mode,
            },
            content: Content::File(Box::new(counted)),
        };
        let path = format!("{staging}/{}", big.name);
        let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
        backend.write_file(instance, &path, file).await?;
        packed.files += 1;
        packed.bytes += big.size;
    }
    Ok(packed)
}

/// What both ends said: a guest that gave up breaks the pipe, and knows why.
pub(super) fn finish<T>(received: Output, sent: Result<T>) -> Result<T> {
    match (expect_success(&received), sent) {
        (Ok(()), sent) => sent,
        // The guest only saw that the stream ended early.
        (Err(_), Err(error)) if !is_broken_pipe(&error) => Err(error),
        // `tar` doesn't always say why it could not write.
        (Err(error), _) => {
            Err(error.with_hint("is its disk full? see with `lxc-dev-manager exec NAME -- df -h`"))
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

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("there is no {shown}"))
        }
        _ => Error::io(format!("cannot read {shown}"), error),
    }
}

/// A pipe whose one end is read by the runtime and whose other end is written by a thread.
pub(super) fn pipe() -> Result<(tokio::net::unix::pipe::Receiver, std::io::PipeWriter)> {
    let failed = |error| Error::io("cannot make a pipe", error);
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    widen(&writer);
    let reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into());
    Ok((reader.map_err(failed)?, writer))
}

/// Lets more wait in a pipe than the usual 64 KiB; where that isn't allowed it is only slower.
pub(super) fn widen(pipe: &impl std::os::fd::AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// Runs something that reads and writes files, apart from everything else. It goes on where nobody waits
/// for its result any more; `threads` tells when it has ended.
pub(super) async fn blocking<T: Send + 'static>(
    threads: &TaskTracker,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    threads
        .spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// How many bytes there are to copy; 0 while that isn't known.
pub(super) type Whole = Arc<AtomicU64>;

/// Tells how far it is, at every percent; at every MiB while nobody knows how much there is.
pub(super) struct Percent {
    progress: Progress,
    whole: Whole,
    said: Option<u8>,
    told: u64,
}

impl Percent {
    /// Of so many bytes.
    pub(super) fn new(progress: Progress, whole: Whole) -> Self {
        Self {
            progress,
            whole,
            said: None,
            told: 0,
        }
    }

    pub(super) fn at(&mut self, bytes: u64) {
        let percent = (bytes.saturating_mul(100))
            .checked_div(self.whole.load(Ordering::Relaxed))
            .and_then(|percent| u8::try_from(percent.min(100)).ok());
        if percent.is_some() && percent != self.said {
            self.said = percent;
            self.progress.step(COPYING, percent);
        } else if percent.is_none() && bytes >> 20 > self.told {
            self.told = bytes >> 20;
            self.progress.bytes(COPYING, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_until_it_is_known_how_many_there_are() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = told.clone();
        let progress = Progress::new(move |step| {
            kept.lock().unwrap().push((step.percent, step.bytes));
        });
        let whole = Whole::default();
        let mut said = Percent::new(progress, whole.clone());
        for bytes in [1000, 2 << 20, (2 << 20) + 1] {
            said.at(bytes);
        }
        whole.store(8 << 20, Ordering::Relaxed);
        for bytes in [4 << 20, (4 << 20) + 1, 9 << 20] {
            said.at(bytes);
        }
        let expected = [(None, Some(2 << 20)), (Some(50), None), (Some(100), None)];
        assert_eq!(*told.lock().unwrap(), expected);
    }
}
