//! Terminal sessions of ours: who is in an env, so that nobody pulls it away under them unasked.
//!
//! One file a session, `run/<instance>.<8 hex>.session`, held locked for as long as the session lasts. A
//! killed process leaves its file unlocked, and whoever looks next removes it; a pid would prove nothing.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Operations;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::model::{EnvName, InstanceName, OperationId};
use crate::project::Project;

/// How the name of a session's file ends.
const SUFFIX: &str = ".session";

/// A terminal session in an env, until dropped.
pub struct Session {
    _file: File,
    path: PathBuf,
}

impl Drop for Session {
    fn drop(&mut self) {
        // One that stays is unlocked, and counts for nothing.
        let _ = fs::remove_file(&self.path);
    }
}

impl Operations {
    /// Says that a terminal session is open in an env, for as long as the value lives.
    ///
    /// # Errors
    /// `Io` where that can't be written.
    pub fn open_session(&self, project: &Project, env: &EnvName) -> Result<Session> {
        open(&self.home, &project.instance(env)?)
    }

    /// How many terminal sessions of ours are open in an env.
    ///
    /// # Errors
    /// `Io` where that can't be read.
    pub fn sessions(&self, project: &Project, env: &EnvName) -> Result<u32> {
        let open = count(&self.home)?;
        let instance = project.instance(env)?;
        Ok(open.get(&instance).copied().unwrap_or_default())
    }
}

/// Whether a file of this name tells of a session.
pub(crate) fn is_session(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

fn open(home: &Home, instance: &InstanceName) -> Result<Session> {
    let directory = home.directory("run")?;
    loop {
        let mark = OperationId::random();
        let path = directory.join(format!("{instance}.{}{SUFFIX}", mark.short()));
        let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        // Who looked before it was locked took it for one that is over.
        if is_at(&file, &path).map_err(failed)? {
            return Ok(Session { _file: file, path });
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many sessions are open, by instance.
pub(super) fn count(home: &Home) -> Result<HashMap<InstanceName, u32>> {
    let directory = home.directory("run")?;
    let failed = |error| Error::io(format!("cannot read {}", directory.display()), error);
    let mut open = HashMap::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(instance) = name.to_str().and_then(instance_of) else {
            continue;
        };
        if is_open(&entry.path()) {
            *open.entry(instance).or_default() += 1;
        }
    }
    Ok(open)
}

fn instance_of(file: &str) -> Option<InstanceName> {
    let (instance, _) = file.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    InstanceName::parse(instance).ok()
}

/// Whether somebody holds it; one that nobody does is over, and removed.
fn is_open(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    // Shared, so that two who look at once don't take each other for the session.
    let held = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
    if !held {
        let _ = fs::remove_file(path);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InstanceName {
        InstanceName::parse(text).unwrap()
    }

    #[test]
    fn sessions_count_while_they_last_and_for_their_own_env() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let first = open(&home, &name("web-dev")).unwrap();
        let second = open(&home, &name("web-dev")).unwrap();
        let other = open(&home, &name("web-dev2")).unwrap();
        let open = count(&home).unwrap();
        assert_eq!(
            (open[&name("web-dev")], open[&name("web-dev2")], open.len()),
            (2, 1, 2)
        );
        drop((first, other));
        assert_eq!(count(&home).unwrap(), [(name("web-dev"), 1)].into());
        drop(second);
        assert_eq!(count(&home).unwrap(), HashMap::new());
    }

    #[test]
    fn what_a_killed_process_left_is_no_session_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let run = home.directory("run").unwrap();
        fs::write(run.join("web-dev.01234567.session"), "").unwrap();
        fs::write(run.join("web-dev.lock"), "").unwrap();
        assert_eq!(count(&home).unwrap(), HashMap::new());
        let left: Vec<_> = fs::read_dir(run).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].file_name(), "web-dev.lock");
    }
}
