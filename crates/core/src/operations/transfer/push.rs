//! Copying from the host into an env.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio_util::io::InspectReader;
use tokio_util::task::TaskTracker;

use super::guest::{GuestTarget, RECEIVE, inspect};
use super::pack::{self, Owner};
use super::stream::{COPYING, CopyProgress, blocking, finish, pipe};
use super::types::{TransferRequest, Transferred};
use crate::backend::{Content, GuestFile, Ownership, Progress, stream_to_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;
use crate::operations::Operations;
use crate::operations::operation::Operation;
use crate::operations::resolve::ResolvedEnv;
use crate::project::Project;

impl Operations {
    pub(super) async fn push(
        self: &Arc<Self>,
        project: &Project,
        from: &Path,
        (env, path): (&EnvName, &str),
        request: &TransferRequest,
        operation: &mut Operation,
    ) -> Result<Transferred> {
        let name = from.file_name().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default();
        let from = pack::source(from);
        let from = from.as_path();
        let source = from.to_path_buf();
        let total = blocking(&operation.threads, move || pack::measure(&source)).await;
        let total = total.map_err(|error| unreadable(from, error))?;
        let (resolved, user) = self.resolve_running(project, env).await?;
        resolved.ensure_own_checkout(project)?;
        let target = inspect(&resolved, &user, path, &name, request.create_directories).await?;
        let (journal, staging) = self.stage_in_guest(operation, &resolved, &target)?;
        self.step(operation, COPYING);
        let progress = self.progress(operation);
        let sent = send(
            from,
            total,
            &resolved,
            &target,
            &staging,
            progress.clone(),
            &operation.threads,
        );
        let packed = sent.await?;
        let packed =
            send_large_files(packed, total, &resolved, &target, &staging, progress).await?;
        let transferred = Transferred {
            target: target.path,
            files: packed.files,
            bytes: packed.bytes,
            skipped: packed.skipped,
        };
        self.commit_to_guest(operation, &resolved, &staging, journal, transferred)
            .await
    }
}

/// Sends the stream from a thread, through a pipe, into the guest.
async fn send(
    from: &Path,
    total: u64,
    resolved: &ResolvedEnv,
    target: &GuestTarget,
    staging: &str,
    progress: Progress,
    threads: &TaskTracker,
) -> Result<pack::Packed> {
    let (reader, writer) = pipe()?;
    let owner = Owner {
        uid: target.uid,
        gid: target.gid,
    };
    let source: PathBuf = from.to_path_buf();
    let packed = blocking(threads, move || {
        let mut progress = CopyProgress::new(progress, Arc::new(total.into()));
        pack::pack(&source, owner, writer, &mut |bytes| progress.at(bytes))
    });
    let [owned, missing] = target.arguments();
    let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
    let arguments = [staging, owned.as_str(), missing.as_str()];
    let received = stream_to_script(backend, instance, RECEIVE, &arguments, reader);
    let (packed, received) = tokio::join!(packed, received);
    finish(received?, packed.map_err(|error| unreadable(from, error)))
}

/// Writes the large files with the engine's file API; their directories exist.
async fn send_large_files(
    mut packed: pack::Packed,
    total: u64,
    resolved: &ResolvedEnv,
    target: &GuestTarget,
    staging: &str,
    progress: Progress,
) -> Result<pack::Packed> {
    let progress = Arc::new(Mutex::new(CopyProgress::new(
        progress,
        Arc::new(total.into()),
    )));
    for large in std::mem::take(&mut packed.large) {
        let file = pack::open(&large.path).map_err(|error| unreadable(&large.path, error))?;
        let file = tokio::fs::File::from_std(file);
        let (mut done, progress) = (packed.bytes, progress.clone());
        // A file that grows meanwhile keeps its announced size.
        let content = InspectReader::new(file.take(large.size), move |chunk: &[u8]| {
            done += chunk.len() as u64;
            progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .at(done);
        });
        let file = GuestFile {
            ownership: Ownership {
                uid: target.uid,
                gid: target.gid,
                mode: large.mode,
            },
            content: Content::File(Box::new(content)),
        };
        let path = format!("{staging}/{}", large.name);
        let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
        backend.write_file(instance, &path, file).await?;
        packed.files += 1;
        packed.bytes += large.size;
    }
    Ok(packed)
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(
            ErrorKind::NotFound,
            format!("no such file or directory: {shown}"),
        ),
        _ => Error::io(format!("cannot read {shown}"), error),
    }
}
