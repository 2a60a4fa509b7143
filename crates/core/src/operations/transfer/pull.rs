//! Copying from an env to the host.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::directory::Directory;
use super::guest::{MEASURE, SEND, ensure_success};
use super::host::{commit, resolve, topmost_missing};
use super::staging::staging_name;
use super::stream::{COPYING, CopyProgress, TotalBytes, blocking, widen};
use super::types::{TransferRequest, Transferred};
use super::unpack;
use crate::backend::{run_script, stream_from_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ByteSize, EnvName};
use crate::operations::Operations;
use crate::operations::journal::{Detail, JournalStep};
use crate::operations::operation::Operation;
use crate::operations::resolve::ResolvedEnv;
use crate::project::Project;

/// How long the guest may take to report its error after the host's end has failed.
const GUEST_ERROR_TIMEOUT: Duration = Duration::from_secs(2);

impl Operations {
    pub(super) async fn pull(
        self: &Arc<Self>,
        project: &Project,
        (env, path): (&EnvName, &str),
        to: &Path,
        request: &TransferRequest,
        operation: &mut Operation,
    ) -> Result<Transferred> {
        let (resolved, user) = self.resolve_running(project, env).await?;
        let target = host_target(to, base_name(path), request.create_directories)?;
        // A copy that is merged into a directory is staged in it: the parent may be on another disk or not
        // writable.
        let is_directory = target.symlink_metadata().is_ok_and(|about| about.is_dir());
        let above = target.parent().unwrap_or(Path::new("/"));
        let parent = if is_directory {
            target.as_path()
        } else {
            above
        };
        let staging = parent.join(staging_name(operation));
        operation.detail = Some(Detail::ToHost {
            staging: staging.clone(),
            target: target.clone(),
            created: topmost_missing(parent),
        });
        let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
        let mut journal = self.journal(operation, backend, instance, false)?;
        let unwritable = |error| Error::io(format!("cannot write {}", parent.display()), error);
        fs::create_dir_all(parent).map_err(unwritable)?;
        // From here on by descriptor: a guest may be able to write there.
        let directory = Directory::open(parent).map_err(unwritable)?;
        let staged = staging.file_name().unwrap_or_default();
        directory.create(staged).map_err(unwritable)?;
        let stage = directory.child(staged).map_err(unwritable)?;
        self.step(operation, COPYING);
        let (reader, writer) = io::pipe().map_err(unwritable)?;
        widen(&writer);
        let writer = tokio::net::unix::pipe::Sender::from_owned_fd(writer.into());
        let total = TotalBytes::default();
        let mut progress = CopyProgress::new(self.progress(operation), total.clone());
        let unpacked = {
            let max = request.max;
            blocking(&operation.threads, move || {
                unpack::unpack(reader, &stage, max.0, &mut |bytes| progress.at(bytes))
            })
        };
        let arguments = [user.as_str(), path];
        let sent = stream_from_script(
            backend,
            instance,
            SEND,
            &arguments,
            writer.map_err(unwritable)?,
        );
        let copied = first_failure(unpacked, sent);
        let (unpacked, sent) = tokio::select! {
            copied = copied => copied,
            never = measure(&resolved, arguments, &total) => match never {},
        };
        let unpacked = refuse(unpacked, request.max)?;
        // First the guest's error: after it the stream is invalid. A guest that was cut off has none.
        if let Some(sent) = sent {
            ensure_success(&sent?)?;
        }
        let unpacked = unpacked
            .map_err(|error| Error::io(format!("cannot write {}", target.display()), error))?;
        journal.enter(JournalStep::Committing)?;
        commit(&staging, &target)?;
        journal.close();
        Ok(Transferred {
            target: target.display().to_string(),
            files: unpacked.files,
            bytes: unpacked.bytes,
            skipped: unpacked.skipped,
        })
    }
}

/// Fails if the host refused the stream. This comes before the guest's error: a guest that is cut off fails, too.
pub(super) fn refuse<T>(result: io::Result<T>, max: ByteSize) -> Result<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            let message = format!("the copy has more than {max}");
            Err(Error::new(ErrorKind::Config, message).with_hint("allow more: `--max SIZE`"))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Error::io("the env sent an invalid stream", error))
        }
        other => Ok(other),
    }
}

/// Waits for both ends of a stream. Once the host's end has failed the guest has a moment to say why; then it is cut off,
/// because it may send without end.
pub(super) async fn first_failure<T, U>(
    unpacked: impl Future<Output = io::Result<T>>,
    sent: impl Future<Output = U>,
) -> (io::Result<T>, Option<U>) {
    tokio::pin!(unpacked, sent);
    tokio::select! {
        unpacked = &mut unpacked => {
            let sent = if unpacked.is_ok() {
                Some(sent.await)
            } else {
                tokio::time::timeout(GUEST_ERROR_TIMEOUT, sent).await.ok()
            };
            (unpacked, sent)
        }
        sent = &mut sent => (unpacked.await, Some(sent)),
    }
}

/// Measures a source in a guest while it is copied, for the progress. Never returns.
pub(super) async fn measure(
    resolved: &ResolvedEnv,
    arguments: [&str; 2],
    total: &TotalBytes,
) -> Infallible {
    let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
    if let Ok(output) = run_script(backend, instance, MEASURE, &arguments, Vec::new()).await
        && let Ok(bytes) = String::from_utf8_lossy(&output.stdout).trim().parse()
    {
        total.store(bytes, Ordering::Relaxed);
    }
    std::future::pending().await
}

/// The last name of a guest path; `None` for `~`, `.` and `..`.
pub(super) fn base_name(path: &str) -> Option<&str> {
    let last = path.trim_end_matches('/').rsplit('/').next()?;
    (!matches!(last, "" | "." | ".." | "~")).then_some(last)
}

/// The target of a copy on the host, with the links of the typed path resolved. The name that the copy brings is not
/// typed: a link of that name is not followed.
fn host_target(to: &Path, name: Option<&str>, create_directories: bool) -> Result<PathBuf> {
    let target = match (name, to.file_name()) {
        (Some(name), _) if to.is_dir() || ends_with_slash(to) => resolve(to).join(name),
        (Some(_), Some(name)) => resolve(to.parent().unwrap_or(Path::new("/"))).join(name),
        _ => resolve(to),
    };
    let parent = target.parent().unwrap_or(Path::new("/"));
    if parent.is_dir() || create_directories {
        return Ok(target);
    }
    let message = format!("no such directory `{}`", parent.display());
    Err(Error::new(ErrorKind::NeedsConfirmation, message)
        .with_hint("create it: repeat the command with `-y`"))
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_name_of_a_path() {
        assert_eq!(base_name("app/src/"), Some("src"));
        for none in ["", "~", ".", "a/..", "/"] {
            assert_eq!(base_name(none), None, "{none}");
        }
    }
}
