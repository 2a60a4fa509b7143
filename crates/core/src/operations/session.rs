//! Open terminal sessions, so that an env is not stopped under its users without confirmation.
//!
//! One file per session, `run/<instance>.<8 hex>.session`, locked while the session lasts. A killed
//! process leaves its file unlocked, and the next reader deletes it.

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

const SUFFIX: &str = ".session";

/// An open terminal session; ends when dropped.
pub struct Session {
    _file: File,
    path: PathBuf,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A file that stays is unlocked, so it does not count.
        let _ = fs::remove_file(&self.path);
    }
}

impl Operations {
    /// Registers a terminal session in an env, until the value is dropped.
    ///
    /// # Errors
    /// `Io` if the session file cannot be written.
    pub fn open_session(&self, project: &Project, env: &EnvName) -> Result<Session> {
        open(&self.home, &project.instance(env)?)
    }

    /// Counts the open terminal sessions of an env.
    ///
    /// # Errors
    /// `Io` if session files cannot be read.
    pub fn sessions(&self, project: &Project, env: &EnvName) -> Result<u32> {
        let open = count(&self.home)?;
        let instance = project.instance(env)?;
        Ok(open.get(&instance).copied().unwrap_or_default())
    }
}

/// Whether a file name is that of a session file.
pub(crate) fn is_session_file(name: &str) -> bool {
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
        // A reader may have deleted it before it was locked.
        if is_same_file(&file, &path).map_err(failed)? {
            return Ok(Session { _file: file, path });
        }
    }
}

fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Counts the open sessions of each instance.
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

/// Whether the session of a file is open. The file of an ended one is deleted.
fn is_open(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    // Shared, so that two concurrent readers do not see each other as the session.
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
    fn counts_open_sessions_of_each_env() {
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
    fn deletes_session_files_of_killed_processes() {
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
