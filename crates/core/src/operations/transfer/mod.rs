//! Copying files between the host and envs.
//!
//! Everything travels as one tar stream through one command in the guest: no request a file, and never
//! more than a few pieces in memory. What arrives is put into a directory beside the target (`.ldm-…`)
//! and gets its place when it is whole; recovery deletes what isn't, and finishes what is.
//! Deliberately absent: asking for anything, and patterns; they are the surface's.

mod between;
mod pack;
mod pull;
mod push;
mod unpack;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Operations;
use super::create::stopped;
use super::journal::{Detail, Journal, JournalStep, OperationRecord};
use super::operation::Operation;
use super::recovery::find;
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, Output, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, InstanceName, UserName};
use crate::project::Project;
use crate::view::OperationKind;

/// Where files are, or where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On the host.
    Host(PathBuf),
    /// In an env. `~` and relative paths begin in the home of the env's user.
    Guest {
        /// Which env.
        env: EnvName,
        /// The path in it.
        path: String,
    },
}

/// Files to be copied.
#[derive(Debug, Clone)]
pub struct TransferRequest {
    /// A file or a directory.
    pub from: Place,
    /// A directory that is there, into which it goes; else what it is called then.
    pub to: Place,
    /// Make the directory of the target where it is missing.
    pub make_directories: bool,
}

/// Files that were copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Where they are now.
    pub target: String,
    /// How many files, without directories.
    pub files: u64,
    /// How many bytes are in them.
    pub bytes: u64,
    /// What can't be copied: sockets and devices.
    pub skipped: Vec<String>,
}

/// Finds the place of what comes into a guest. `$1` user, `$2` path, `$3` its name. Prints uid, gid,
/// target and the uppermost directory that is missing, each ended by NUL.
const LOOK: &str = concat!(include_str!("path.sh"), include_str!("inspect.sh"));
/// Takes a stream in. `$1` staging directory, `$2` `uid:gid` of directories that are made, `$3` the
/// uppermost of these; stdin: tar.
const RECEIVE: &str = include_str!("receive.sh");
/// Gives what was taken in its place. `$1` staging directory, `$2` target.
const COMMIT: &str = include_str!("commit.sh");
/// Deletes what was taken in. `$1` staging directory, `$2` the uppermost directory that was made for it.
const DISCARD: &str = include_str!("discard.sh");
/// Gives a stream out. `$1` user, `$2` path. Prints tar.
const SEND: &str = concat!(include_str!("path.sh"), include_str!("send.sh"));

/// Tells how long that will be. `$1` user, `$2` path. Prints a number of bytes, or nothing.
const MEASURE: &str = concat!(include_str!("path.sh"), include_str!("measure.sh"));

/// Exit code of [`LOOK`] for a directory that isn't there.
const NO_DIRECTORY: i32 = 44;
/// Exit code of [`LOOK`] and [`SEND`] for what can't be done there, said in words.
const NO_PLACE: i32 = 45;
/// The name in a stream of what is copied.
const ITEM: &str = "item";

impl Operations {
    /// Copies a file or a directory. In an env they belong to its user; on the host to who copies them.
    ///
    /// # Errors
    /// `NotFound` for a source that isn't there, `NeedsConfirmation` for a target whose directory isn't,
    /// `Conflict` for an env that doesn't run.
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
            (Place::Guest { env: from, .. }, Place::Guest { env, .. }) => (env, vec![from]),
            (_, Place::Guest { env, .. }) | (Place::Guest { env, .. }, _) => (env, Vec::new()),
            _ => {
                let message = "neither of the two is in an env";
                return Err(failed(
                    Error::new(ErrorKind::Config, message)
                        .with_hint("write `NAME:PATH` for a path in an env"),
                ));
            }
        };
        let begun = self.begin_with(project, env, &others, OperationKind::Transfer, None);
        let mut operation = begun.await.map_err(failed)?;
        let steps = async {
            let project = &project.fresh()?;
            match (&request.from, &request.to) {
                (Place::Host(from), Place::Guest { env, path }) => {
                    self.push(project, from, (env, path), request, &mut operation)
                        .await
                }
                (Place::Guest { env, path }, Place::Host(to)) => {
                    self.pull(project, (env, path), to, request, &mut operation)
                        .await
                }
                (
                    Place::Guest {
                        env: source,
                        path: from,
                    },
                    Place::Guest { env, path },
                ) => {
                    let (from, to) = ((source, from.as_str()), (env, path.as_str()));
                    self.between(project, from, to, request, &mut operation)
                        .await
                }
                (Place::Host(_), Place::Host(_)) => Ok(Transferred::default()),
            }
        };
        let result = tokio::select! {
            result = steps => result,
            // What was begun is found by recovery, right below.
            () = cancel.cancelled() => Err(stopped()),
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

    /// Deletes what a failed copy left; one that was cancelled while it got its place is finished. Where
    /// that fails too, the journal stays for recovery.
    async fn clean_up(&self, instance: &InstanceName, operation: &Operation, cancelled: bool) {
        // They see the end of their streams by now.
        operation.threads.close();
        operation.threads.wait().await;
        let journals = Journal::of(&self.home, instance).unwrap_or_default();
        for journal in journals
            .into_iter()
            .filter(|left| left.record.id == operation.id)
        {
            let Ok(backend) = self.backend_at(&journal.record.engine) else {
                continue;
            };
            let step = match cancelled {
                true => journal.step,
                false => JournalStep::Preparing,
            };
            match recover_transfer(backend.as_ref(), &journal.record, step).await {
                Ok(_) => journal.close(),
                Err(error) => tracing::warn!(?error, "what was copied could not be deleted"),
            }
        }
    }

    /// An env that runs.
    pub(super) async fn resolve_running(
        &self,
        project: &Project,
        env: &EnvName,
    ) -> Result<(ResolvedEnv, UserName)> {
        let resolved = self.resolve(project, env).await?;
        if !resolved.instance.status.is_up() {
            let message = format!("`{env}` is stopped");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("start it: `lxc-dev-manager up {env}`")));
        }
        Ok((resolved, project.file().user(env)?.name))
    }

    /// Gives what a guest has taken in its place.
    async fn put_in_place(
        &self,
        operation: &Operation,
        resolved: &ResolvedEnv,
        staging: &str,
        mut journal: Journal,
        counted: Transferred,
    ) -> Result<Transferred> {
        journal.enter(JournalStep::Committing)?;
        self.step(operation, "putting it in its place");
        let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
        commit_in_guest(backend, instance, staging, &counted.target).await?;
        journal.close();
        Ok(counted)
    }

    /// Writes the journal of files that come into a guest.
    fn stage_in_guest(
        &self,
        operation: &mut Operation,
        resolved: &ResolvedEnv,
        landing: &Landing,
    ) -> Result<(Journal, String)> {
        let target = &landing.target;
        let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
        let staging = format!("{parent}/{}", staging_name(operation));
        operation.detail = Some(Detail::IntoGuest {
            staging: staging.clone(),
            target: target.clone(),
            made: landing.missing.clone(),
        });
        let journal = self.journal(
            operation,
            resolved.backend.as_ref(),
            &resolved.instance.name,
            false,
        )?;
        Ok((journal, staging))
    }
}

fn staging_name(operation: &Operation) -> String {
    format!(".ldm-{}", operation.id.short())
}

/// How messages call a place.
fn label(place: &Place) -> String {
    match place {
        Place::Host(path) => format!("`{}`", path.display()),
        Place::Guest { env, path } => format!("`{env}:{path}`"),
    }
}

/// Where something goes in a guest.
struct Landing {
    uid: u32,
    gid: u32,
    target: String,
    /// The uppermost directory on the way that has to be made.
    missing: Option<String>,
}

impl Landing {
    /// Arguments of [`RECEIVE`] beside the staging directory.
    fn arguments(&self) -> [String; 2] {
        let owner = format!("{}:{}", self.uid, self.gid);
        [owner, self.missing.clone().unwrap_or_default()]
    }
}

/// Asks a guest where something goes. A directory that is missing is made later.
async fn look(
    resolved: &ResolvedEnv,
    user: &UserName,
    path: &str,
    name: &str,
    make_directories: bool,
) -> Result<Landing> {
    let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
    let arguments = [user.as_str(), path, name];
    let output = run_script(backend, instance, LOOK, &arguments, Vec::new()).await?;
    let missing = output.code == NO_DIRECTORY;
    if missing && !make_directories {
        let message = format!("there is no directory `{}`", output.last_words());
        return Err(Error::new(ErrorKind::NeedsConfirmation, message)
            .with_hint("make it by repeating this with `-y`"));
    }
    if !missing {
        expect_success(&output)?;
    }
    let text = String::from_utf8(output.stdout).map_err(|_| garbled())?;
    let mut fields = text.split('\0');
    let mut number = || fields.next()?.parse().ok();
    let (uid, gid) = (number(), number());
    let target = fields.next().filter(|target| target.starts_with('/'));
    let missing = fields.next().filter(|missing| !missing.is_empty());
    match (uid, gid, target) {
        (Some(uid), Some(gid), Some(target)) => Ok(Landing {
            uid,
            gid,
            target: target.to_owned(),
            missing: missing.map(str::to_owned),
        }),
        _ => Err(garbled()),
    }
}

fn garbled() -> Error {
    Error::new(ErrorKind::Guest, "the guest's answer can't be read")
}

/// An error of what a script of ours said.
fn expect_success(output: &Output) -> Result<()> {
    match output.code {
        0 => Ok(()),
        NO_PLACE => Err(Error::new(ErrorKind::NotFound, output.last_words())),
        // `tar` ends with a line that only says that it failed.
        _ => Err(Error::new(ErrorKind::Guest, output.first_words())),
    }
}

async fn commit_in_guest(
    backend: &dyn Backend,
    name: &InstanceName,
    staging: &str,
    target: &str,
) -> Result<()> {
    let output = run_script(backend, name, COMMIT, &[staging, target], Vec::new()).await?;
    expect_success(&output)
}

/// Finishes or takes back what was copied when it was killed.
pub(super) async fn recover_transfer(
    backend: &dyn Backend,
    record: &OperationRecord,
    step: JournalStep,
) -> Result<&'static str> {
    let committing = step != JournalStep::Preparing;
    let name = &record.instance;
    match &record.detail {
        Some(Detail::IntoGuest {
            staging,
            target,
            made,
        }) => {
            if find(backend, name).await?.is_none() {
                return Ok("dropped: the env is gone");
            }
            if committing {
                commit_in_guest(backend, name, staging, target).await?;
            } else {
                let arguments = [staging, made.as_deref().unwrap_or_default()];
                let output = run_script(backend, name, DISCARD, &arguments, Vec::new()).await?;
                expect_success(&output)?;
            }
        }
        Some(Detail::OntoHost {
            staging,
            target,
            made,
        }) => pull::mend(staging, target, made.as_deref(), committing)?,
        _ => return Ok("dropped: nothing was changed yet"),
    }
    Ok(if committing { "finished" } else { "taken back" })
}
