//! The guest's end of a copy: constant scripts that find, fill and commit a target.

use crate::backend::{Backend, Output, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{InstanceName, UserName};
use crate::operations::resolve::ResolvedEnv;

/// Finds a target in a guest. `$1` user, `$2` path, `$3` name of the copy. Prints uid, gid, target and the
/// topmost missing directory, each ended by NUL.
const INSPECT: &str = concat!(include_str!("path.sh"), include_str!("inspect.sh"));
/// Receives a stream. `$1` staging directory, `$2` `uid:gid` of created directories, `$3` the topmost of
/// these; stdin: tar.
pub(super) const RECEIVE: &str = include_str!("receive.sh");
/// Moves a received copy to its target. `$1` staging directory, `$2` target.
const COMMIT: &str = include_str!("commit.sh");
/// Deletes a received copy. `$1` staging directory, `$2` the topmost directory created for it.
const DISCARD: &str = include_str!("discard.sh");
/// Sends a stream. `$1` user, `$2` path. Prints tar.
pub(super) const SEND: &str = concat!(include_str!("path.sh"), include_str!("send.sh"));
/// Measures a source. `$1` user, `$2` path. Prints a number of bytes, or nothing.
pub(super) const MEASURE: &str = concat!(include_str!("path.sh"), include_str!("measure.sh"));
/// Exit code of [`INSPECT`]: the directory does not exist.
const MISSING_DIRECTORY: i32 = 44;
/// Exit code of [`INSPECT`] and [`SEND`]: the path cannot be used, for the reason on stderr.
const UNUSABLE_PATH: i32 = 45;

/// Where a copy goes in a guest.
pub(super) struct GuestTarget {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) path: String,
    /// The topmost directory that has to be created.
    pub(super) missing: Option<String>,
}

impl GuestTarget {
    /// Arguments of [`RECEIVE`] after the staging directory.
    pub(super) fn arguments(&self) -> [String; 2] {
        let owner = format!("{}:{}", self.uid, self.gid);
        [owner, self.missing.clone().unwrap_or_default()]
    }
}

/// Finds the target of a copy in a guest.
pub(super) async fn inspect(
    resolved: &ResolvedEnv,
    user: &UserName,
    path: &str,
    name: &str,
    create_directories: bool,
) -> Result<GuestTarget> {
    let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
    let arguments = [user.as_str(), path, name];
    let output = run_script(backend, instance, INSPECT, &arguments, Vec::new()).await?;
    let missing = output.code == MISSING_DIRECTORY;
    if missing && !create_directories {
        let message = format!("no such directory `{}`", output.last_line());
        return Err(Error::new(ErrorKind::NeedsConfirmation, message)
            .with_hint("create it: repeat the command with `-y`"));
    }
    if !missing {
        ensure_success(&output)?;
    }
    let text = String::from_utf8(output.stdout).map_err(|_| unexpected_output())?;
    let mut fields = text.split('\0');
    let mut number = || fields.next()?.parse().ok();
    let (uid, gid) = (number(), number());
    let target = fields.next().filter(|target| target.starts_with('/'));
    let missing = fields.next().filter(|missing| !missing.is_empty());
    match (uid, gid, target) {
        (Some(uid), Some(gid), Some(target)) => Ok(GuestTarget {
            uid,
            gid,
            path: target.to_owned(),
            missing: missing.map(str::to_owned),
        }),
        _ => Err(unexpected_output()),
    }
}

fn unexpected_output() -> Error {
    Error::new(ErrorKind::Guest, "unexpected output from the guest")
}

/// The error of a script that failed.
pub(super) fn ensure_success(output: &Output) -> Result<()> {
    match output.code {
        0 => Ok(()),
        UNUSABLE_PATH => Err(Error::new(ErrorKind::NotFound, output.last_line())),
        // The last line of `tar` only says that it failed.
        _ => Err(Error::new(ErrorKind::Guest, output.first_line())),
    }
}

pub(super) async fn commit(
    backend: &dyn Backend,
    name: &InstanceName,
    staging: &str,
    target: &str,
) -> Result<()> {
    let output = run_script(backend, name, COMMIT, &[staging, target], Vec::new()).await?;
    ensure_success(&output)
}

/// Deletes a received copy, and the directories that were created for it.
pub(super) async fn discard(
    backend: &dyn Backend,
    name: &InstanceName,
    staging: &str,
    created: Option<&str>,
) -> Result<()> {
    let arguments = [staging, created.unwrap_or_default()];
    ensure_success(&run_script(backend, name, DISCARD, &arguments, Vec::new()).await?)
}
