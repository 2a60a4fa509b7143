//! Copying from an env to the host.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::guest::{MEASURE, SEND, ensure_success};
use super::host::{commit, topmost_missing};
use super::staging::staging_name;
use super::stream::{COPYING, CopyProgress, TotalBytes, blocking, widen};
use super::types::{TransferRequest, Transferred};
use super::unpack;
use crate::backend::{run_script, stream_from_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;
use crate::operations::Operations;
use crate::operations::journal::{Detail, JournalStep};
use crate::operations::operation::Operation;
use crate::operations::resolve::ResolvedEnv;
use crate::project::Project;

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
        let parent = match target.canonicalize() {
            Ok(directory) if directory.is_dir() => directory,
            _ => target.parent().unwrap_or(Path::new("/")).to_path_buf(),
        };
        let parent = parent.as_path();
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
        create_private(&staging).map_err(unwritable)?;
        self.step(operation, COPYING);
        let (reader, writer) = io::pipe().map_err(unwritable)?;
        widen(&writer);
        let writer = tokio::net::unix::pipe::Sender::from_owned_fd(writer.into());
        let total = TotalBytes::default();
        let mut progress = CopyProgress::new(self.progress(operation), total.clone());
        let unpacked = {
            let staging = staging.clone();
            blocking(&operation.threads, move || {
                unpack::unpack(reader, &staging, &mut |bytes| progress.at(bytes))
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
        let copied = async { tokio::join!(unpacked, sent) };
        let (unpacked, sent) = tokio::select! {
            copied = copied => copied,
            never = measure(&resolved, arguments, &total) => match never {},
        };
        // First the guest's error: after it the stream is invalid.
        ensure_success(&sent?)?;
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

/// The target of a copy on the host.
fn host_target(to: &Path, name: Option<&str>, create_directories: bool) -> Result<PathBuf> {
    let target = match name {
        Some(name) if to.is_dir() || ends_with_slash(to) => to.join(name),
        _ => to.to_path_buf(),
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

fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
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
