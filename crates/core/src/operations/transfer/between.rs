//! From one env into another.

use std::io;
use std::sync::Arc;

use super::pack::Owner;
use super::pull::{measure, own_name};
use super::push::{Percent, Whole, blocking, finish, pipe, widen};
use super::{RECEIVE, SEND, TransferRequest, Transferred, expect_success, look, unpack};
use crate::backend::{receive_script, send_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;
use crate::operations::Operations;
use crate::operations::operation::Operation;
use crate::project::Project;

impl Operations {
    pub(super) async fn between(
        self: &Arc<Self>,
        project: &Project,
        (source, from): (&EnvName, &str),
        (env, path): (&EnvName, &str),
        request: &TransferRequest,
        operation: &mut Operation,
    ) -> Result<Transferred> {
        let (giver, giving) = self.resolve_running(project, source).await?;
        let (resolved, user) = self.resolve_running(project, env).await?;
        let name = own_name(from).unwrap_or_default();
        let landing = look(&resolved, &user, path, name, request.make_directories).await?;
        if source == env {
            // The same question tells where the source is.
            let there = look(&resolved, &user, from, "", true).await?.target;
            let there = there.trim_end_matches('/');
            let below = landing.target.strip_prefix(there);
            if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                let message = format!("{} is in {there} itself", landing.target);
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        let (journal, staging) = self.stage_in_guest(operation, &resolved, &landing)?;
        self.step(operation, "copying");
        let broken = |error| Error::io("a stream of files broke", error);
        // From the giver through a thread of ours, which changes names and owners, to the taker.
        let (out, given) = io::pipe().map_err(broken)?;
        widen(&given);
        let given = tokio::net::unix::pipe::Sender::from_owned_fd(given.into()).map_err(broken)?;
        let (taken, input) = pipe()?;
        let owner = Owner {
            uid: landing.uid,
            gid: landing.gid,
        };
        let whole = Whole::default();
        let mut said = Percent::new(self.progress(operation), whole.clone());
        let passed = blocking(&operation.threads, move || {
            unpack::pass_on(out, input, owner, &mut |bytes| said.at(bytes))
        });
        let giving = [giving.as_str(), from];
        let [owned, missing] = landing.arguments();
        let taking = [staging.as_str(), &owned, &missing];
        let sent = send_script(
            giver.backend.as_ref(),
            &giver.instance.name,
            SEND,
            &giving,
            given,
        );
        let received = receive_script(
            resolved.backend.as_ref(),
            &resolved.instance.name,
            RECEIVE,
            &taking,
            taken,
        );
        let copied = async { tokio::join!(sent, passed, received) };
        let (sent, passed, received) = tokio::select! {
            copied = copied => copied,
            never = measure(&giver, giving, &whole) => match never {},
        };
        // The first in the row that failed is the reason for the others.
        expect_success(&sent?)?;
        let passed = finish(received?, passed.map_err(broken))?;
        let counted = Transferred {
            target: landing.target,
            files: passed.files,
            bytes: passed.bytes,
            skipped: passed.skipped,
        };
        self.put_in_place(operation, &resolved, &staging, journal, counted)
            .await
    }
}
