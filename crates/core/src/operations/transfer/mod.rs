//! Copying files between the host and envs.
//!
//! A copy is one tar stream through one command in the guest. It is received into a staging directory next
//! to the target (`.ldm-…`) and moved to the target when complete; recovery deletes an incomplete copy and
//! completes the move of a complete one.
//! Deliberately absent: confirmation and patterns, which belong to the surfaces.

mod between;
mod directory;
mod guest;
mod host;
mod pack;
mod pull;
mod push;
pub(super) mod recovery;
mod staging;
mod stream;
mod types;
mod unpack;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Operations;
use super::journal::{Journal, JournalStep};
use super::operation::Operation;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;
use crate::project::Project;
use crate::view::OperationKind;

pub use types::{Location, TransferRequest, Transferred};

impl Operations {
    /// Copies a file or directory. Copies in an env belong to its user.
    ///
    /// # Errors
    /// `NotFound`; `NeedsConfirmation` for a missing target directory; `Conflict` for a stopped env.
    pub async fn transfer(
        self: &Arc<Self>,
        project: &Project,
        request: &TransferRequest,
        cancel: &CancellationToken,
    ) -> Result<Transferred> {
        let failed = |error: Error| {
            let (from, to) = (label(&request.from), label(&request.to));
            error.context(format!("cannot copy {from} to {to}"))
        };
        let (env, others) = match (&request.from, &request.to) {
            (Location::Guest { env: from, .. }, Location::Guest { env, .. }) => (env, vec![from]),
            (_, Location::Guest { env, .. }) | (Location::Guest { env, .. }, _) => {
                (env, Vec::new())
            }
            _ => {
                let message = "neither path is in an env";
                return Err(failed(
                    Error::new(ErrorKind::Config, message)
                        .with_hint("specify a path in an env as `NAME:PATH`"),
                ));
            }
        };
        let begun = self.begin_with(project, env, &others, OperationKind::Transfer, None);
        let mut operation = begun.await.map_err(failed)?;
        let steps = async {
            let project = &project.reopen()?;
            match (&request.from, &request.to) {
                (Location::Host(from), Location::Guest { env, path }) => {
                    self.push(project, from, (env, path), request, &mut operation)
                        .await
                }
                (Location::Guest { env, path }, Location::Host(to)) => {
                    self.pull(project, (env, path), to, request, &mut operation)
                        .await
                }
                (
                    Location::Guest {
                        env: source,
                        path: from,
                    },
                    Location::Guest { env, path },
                ) => {
                    let (from, to) = ((source, from.as_str()), (env, path.as_str()));
                    self.copy_between(project, from, to, request, &mut operation)
                        .await
                }
                (Location::Host(_), Location::Host(_)) => Ok(Transferred::default()),
            }
        };
        let result = tokio::select! {
            result = steps => result,
            // `clean_up` recovers it below.
            () = cancel.cancelled() => Err(Error::cancelled()),
        };
        if let Err(error) = &result
            && !error.is_uncertain()
        {
            let cancelled = error.kind() == ErrorKind::Cancelled;
            self.clean_up(&project.instance(env)?, &operation, cancelled)
                .await;
        }
        self.end(operation, result.map_err(failed))
    }

    /// Deletes a failed copy, or completes one that was cancelled during the move. If that fails, the journal
    /// stays for recovery.
    async fn clean_up(&self, instance: &InstanceName, operation: &Operation, cancelled: bool) {
        // Their streams have ended.
        operation.threads.close();
        operation.threads.wait().await;
        let journals = Journal::for_instance(&self.home, instance).unwrap_or_default();
        for journal in journals
            .into_iter()
            .filter(|journal| journal.record.id == operation.id)
        {
            let Ok(backend) = self.backend_at(&journal.record.engine) else {
                continue;
            };
            let step = if cancelled {
                journal.step
            } else {
                JournalStep::Preparing
            };
            match recovery::recover(backend.as_ref(), &journal.record, step).await {
                Ok(_) => journal.close(),
                Err(error) => tracing::warn!(?error, "cannot clean up a failed copy"),
            }
        }
    }
}

fn label(location: &Location) -> String {
    match location {
        Location::Host(path) => format!("`{}`", path.display()),
        Location::Guest { env, path } => format!("`{env}:{path}`"),
    }
}

/// Unpacks a stream of a guest in a directory. Returns the number of files.
///
/// # Errors
/// Those of the stream, and of writing.
#[cfg(feature = "fuzzing")]
pub fn unpack_stream(stream: &[u8], into: &std::path::Path, max: u64) -> std::io::Result<u64> {
    let directory = directory::Directory::open(into)?;
    let unpacked = unpack::unpack(stream, &directory, max, &mut |_| {})?;
    Ok(unpacked.files)
}
