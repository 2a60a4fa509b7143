//! Copying from one env to another.

use std::io;
use std::sync::Arc;

use super::guest::{RECEIVE, SEND, ensure_success, inspect};
use super::pack::Owner;
use super::pull::{base_name, first_failure, measure, refuse};
use super::stream::{COPYING, CopyProgress, TotalBytes, blocking, finish, pipe, widen};
use super::types::{TransferRequest, Transferred};
use super::unpack;
use crate::backend::{stream_from_script, stream_to_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;
use crate::operations::Operations;
use crate::operations::operation::Operation;
use crate::project::Project;

impl Operations {
    pub(super) async fn copy_between(
        self: &Arc<Self>,
        project: &Project,
        (source, from): (&EnvName, &str),
        (env, path): (&EnvName, &str),
        request: &TransferRequest,
        operation: &mut Operation,
    ) -> Result<Transferred> {
        let (source_env, source_user) = self.resolve_running(project, source).await?;
        let (resolved, user) = self.resolve_running(project, env).await?;
        resolved.ensure_own_checkout(project)?;
        let name = base_name(from).unwrap_or_default();
        let target = inspect(&resolved, &user, path, name, request.create_directories).await?;
        if source == env {
            // Makes the source path absolute.
            let source_path = inspect(&resolved, &user, from, "", true).await?.path;
            let source_path = source_path.trim_end_matches('/');
            let below = target.path.strip_prefix(source_path);
            if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                let message = format!("target {} is inside of source {source_path}", target.path);
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        let (journal, staging) = self.stage_in_guest(operation, &resolved, &target)?;
        self.step(operation, COPYING);
        let failed = |error| Error::io("cannot pass the stream on", error);
        // From the source through a thread, which changes names and owners, to the target.
        let (rewrite_input, output) = io::pipe().map_err(failed)?;
        widen(&output);
        let output =
            tokio::net::unix::pipe::Sender::from_owned_fd(output.into()).map_err(failed)?;
        let (input, rewrite_output) = pipe()?;
        let owner = Owner {
            uid: target.uid,
            gid: target.gid,
        };
        let total = TotalBytes::default();
        let mut progress = CopyProgress::new(self.progress(operation), total.clone());
        let max = request.max;
        let rewritten = blocking(&operation.threads, move || {
            let report = &mut |bytes| progress.at(bytes);
            unpack::rewrite(rewrite_input, rewrite_output, owner, max.0, report)
        });
        let send_arguments = [source_user.as_str(), from];
        let [owner, missing] = target.arguments();
        let receive_arguments = [staging.as_str(), &owner, &missing];
        let sent = stream_from_script(
            source_env.backend.as_ref(),
            &source_env.instance.name,
            SEND,
            &send_arguments,
            output,
        );
        let received = stream_to_script(
            resolved.backend.as_ref(),
            &resolved.instance.name,
            RECEIVE,
            &receive_arguments,
            input,
        );
        let copied = async { tokio::join!(first_failure(rewritten, sent), received) };
        let ((rewritten, sent), received) = tokio::select! {
            copied = copied => copied,
            never = measure(&source_env, send_arguments, &total) => match never {},
        };
        let rewritten = refuse(rewritten, max)?;
        // The first failure in the chain is the cause of the others. A source that was cut off has none.
        if let Some(sent) = sent {
            ensure_success(&sent?)?;
        }
        let rewritten = finish(received?, rewritten.map_err(failed))?;
        let transferred = Transferred {
            target: target.path,
            files: rewritten.files,
            bytes: rewritten.bytes,
            skipped: rewritten.skipped,
        };
        self.commit_to_guest(operation, &resolved, &staging, journal, transferred)
            .await
    }
}
