//! From an env onto the host.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::push::{Percent, Whole, blocking, widen};
use super::{
    ITEM, MEASURE, SEND, TransferRequest, Transferred, expect_success, staging_name, unpack,
};
use crate::backend::{run_script, send_script};
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
        let target = landing(to, own_name(path), request.make_directories)?;
        // What is merged into a directory is staged in it: beside it may be another disk, or nothing that
        // this user may write into.
        let parent = match target.canonicalize() {
            Ok(directory) if directory.is_dir() => directory,
            _ => target.parent().unwrap_or(Path::new("/")).to_path_buf(),
        };
        let parent = parent.as_path();
        let staging = parent.join(staging_name(operation));
        operation.detail = Some(Detail::OntoHost {
            staging: staging.clone(),
            target: target.clone(),
            made: uppermost_missing(parent),
        });
        let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
        let mut journal = self.journal(operation, backend, instance, false)?;
        let unwritable = |error| Error::io(format!("cannot write {}", parent.display()), error);
        fs::create_dir_all(parent).map_err(unwritable)?;
        make_private(&staging).map_err(unwritable)?;
        self.step(operation, "copying");
        let (reader, writer) = io::pipe().map_err(unwritable)?;
        widen(&writer);
        let writer = tokio::net::unix::pipe::Sender::from_owned_fd(writer.into());
        let whole = Whole::default();
        let mut said = Percent::new(self.progress(operation), whole.clone());
        let unpacked = {
            let staging = staging.clone();
            blocking(&operation.threads, move || {
                unpack::unpack(reader, &staging, &mut |bytes| said.at(bytes))
            })
        };
        let arguments = [user.as_str(), path];
        let sent = send_script(
            backend,
            instance,
            SEND,
            &arguments,
            writer.map_err(unwritable)?,
        );
        let copied = async { tokio::join!(unpacked, sent) };
        let (unpacked, sent) = tokio::select! {
            copied = copied => copied,
            never = measure(&resolved, arguments, &whole) => match never {},
        };
        // A guest that gave up early leaves a stream that can't be read, and knows why.
        expect_success(&sent?)?;
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

/// Asks a guest how much it gives out, while it does. Never returns: what it tells is only to be shown.
pub(super) async fn measure(
    resolved: &ResolvedEnv,
    arguments: [&str; 2],
    whole: &Whole,
) -> Infallible {
    let (backend, instance) = (resolved.backend.as_ref(), &resolved.instance.name);
    if let Ok(output) = run_script(backend, instance, MEASURE, &arguments, Vec::new()).await
        && let Ok(bytes) = String::from_utf8_lossy(&output.stdout).trim().parse()
    {
        whole.store(bytes, Ordering::Relaxed);
    }
    std::future::pending().await
}

/// The name of what is at a path of a guest; `None` for `~`, `.` and the like.
pub(super) fn own_name(path: &str) -> Option<&str> {
    let last = path.trim_end_matches('/').rsplit('/').next()?;
    (!matches!(last, "" | "." | ".." | "~")).then_some(last)
}

/// Where something goes on the host.
fn landing(to: &Path, name: Option<&str>, make_directories: bool) -> Result<PathBuf> {
    let target = match name {
        Some(name) if to.is_dir() || ends_with_slash(to) => to.join(name),
        _ => to.to_path_buf(),
    };
    let parent = target.parent().unwrap_or(Path::new("/"));
    if parent.is_dir() || make_directories {
        return Ok(target);
    }
    let message = format!("there is no directory `{}`", parent.display());
    Err(Error::new(ErrorKind::NeedsConfirmation, message)
        .with_hint("make it by repeating this with `-y`"))
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// The uppermost directory that has to be made for this one to be there.
fn uppermost_missing(directory: &Path) -> Option<PathBuf> {
    let missing = directory.ancestors().take_while(|above| !above.is_dir());
    missing.last().map(Path::to_path_buf)
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Finishes or takes back what was killed. Of the directories that were made, `made` is the uppermost.
pub(super) fn mend(
    staging: &Path,
    target: &Path,
    made: Option<&Path>,
    committing: bool,
) -> Result<()> {
    let staged = staging.exists();
    if staged && committing {
        return commit(staging, target);
    }
    if staged {
        let failed = |error| Error::io(format!("cannot delete {}", staging.display()), error);
        fs::remove_dir_all(staging).map_err(failed)?;
    }
    if let Some(made) = made.filter(|_| !committing) {
        remove_made(staging.parent().unwrap_or(made), made);
    }
    Ok(())
}

/// Removes directories from this one up to the uppermost that was made, as far as they are empty:
/// somebody may have put something there.
fn remove_made(lowest: &Path, uppermost: &Path) {
    let made = lowest
        .ancestors()
        .take_while(|above| above.starts_with(uppermost));
    for directory in made {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return,
            _ => {}
        }
    }
}

/// Gives what was taken in its place. Can be done again.
pub(super) fn commit(staging: &Path, target: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", target.display()), error);
    let item = staging.join(ITEM);
    if item.symlink_metadata().is_ok() {
        place(&item, target).map_err(failed)?;
    }
    fs::remove_dir_all(staging).map_err(failed)
}

/// Moves a file or directory to where it belongs. A directory that is there keeps what else is in it.
fn place(item: &Path, target: &Path) -> io::Result<()> {
    let is_directory = item.symlink_metadata()?.is_dir();
    match (is_directory, target.is_dir()) {
        (true, true) => {
            for entry in fs::read_dir(item)? {
                let entry = entry?;
                place(&entry.path(), &target.join(entry.file_name()))?;
            }
            Ok(())
        }
        (false, true) if !target.is_symlink() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        _ => fs::rename(item, target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_paths() {
        assert_eq!(own_name("app/src/"), Some("src"));
        for none in ["", "~", ".", "a/..", "/"] {
            assert_eq!(own_name(none), None, "{none}");
        }
    }

    #[test]
    fn a_directory_is_merged_and_a_second_time_nothing_is_left_to_do() {
        let root = tempfile::tempdir().unwrap();
        let (staging, target) = (root.path().join("staging"), root.path().join("target"));
        fs::create_dir_all(staging.join("item/sub")).unwrap();
        fs::write(staging.join("item/sub/new"), "new").unwrap();
        fs::write(staging.join("item/both"), "new").unwrap();
        fs::create_dir_all(target.join("sub")).unwrap();
        fs::write(target.join("sub/old"), "old").unwrap();
        fs::write(target.join("both"), "old").unwrap();
        commit(&staging, &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("both")).unwrap(), "new");
        assert!(target.join("sub/old").exists() && target.join("sub/new").exists());
        assert!(!staging.exists());
    }

    #[test]
    fn directories_that_were_made_are_taken_back_as_far_as_nothing_is_in_them() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("a/b/c");
        let made = uppermost_missing(&parent).unwrap();
        assert_eq!(made, root.path().join("a"));
        let staging = parent.join(".ldm-1");
        let mend = || mend(&staging, &parent.join("x"), Some(&made), false).unwrap();
        // Not all of them were made yet.
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        mend();
        assert!(root.path().exists() && !made.exists());
        fs::create_dir_all(&staging).unwrap();
        fs::write(root.path().join("a/another's"), "x").unwrap();
        mend();
        assert!(made.join("another's").exists() && !made.join("b").exists());
        assert_eq!(uppermost_missing(root.path()), None);
    }

    #[test]
    fn a_file_does_not_replace_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let (staging, target) = (root.path().join("staging"), root.path().join("target"));
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join("item"), "x").unwrap();
        fs::create_dir(&target).unwrap();
        assert!(commit(&staging, &target).is_err());
        assert!(target.is_dir());
    }
}
