//! Who holds the control socket.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

use super::lock_info::LockInfo;
use crate::error::{Error, Result};
use crate::home::Home;

/// The right to answer on the control socket; given back when dropped.
#[derive(Debug)]
pub struct Holder {
    /// Where clients arrive.
    pub(super) listener: UnixListener,
    path: PathBuf,
    lock: File,
    /// Where the one before hands its listeners over.
    handover: Option<PathBuf>,
}

impl Holder {
    /// Takes the socket, unless another process has it (`None`), wherever that answers.
    ///
    /// # Errors
    /// `Io` where the directories can't be written.
    pub fn claim(home: &Home) -> Result<Option<Self>> {
        let (path, lock) = (home.control_socket(), home.control_lock()?);
        let failed = |error| Error::io(format!("cannot lock {}", lock.display()), error);
        let mut options = OpenOptions::new();
        let options = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = options.open(&lock).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        home.runtime_directory()?;
        let failed = |error| Error::io(format!("cannot listen on {}", path.display()), error);
        let listener = listen(&path).map_err(failed)?;
        let before = LockInfo::read(&mut lock);
        let lock_info = LockInfo {
            socket: path.clone(),
            handover: None,
        };
        lock_info.write(&mut lock).map_err(failed)?;
        Ok(Some(Self {
            listener,
            path,
            lock,
            handover: before.and_then(|before| before.handover),
        }))
    }

    /// Where the one who held it before hands its listeners over, once.
    pub(crate) fn handed_over(&mut self) -> Option<PathBuf> {
        self.handover.take()
    }

    /// Gives it back, and says where the next one finds our listeners.
    ///
    /// # Errors
    /// `Io` where that can't be written.
    pub(crate) fn pass_on(mut self, handover: &Path) -> Result<()> {
        let lock_info = LockInfo {
            socket: self.path.clone(),
            handover: Some(handover.to_path_buf()),
        };
        let failed = |error| Error::io("cannot write into the lock", error);
        lock_info.write(&mut self.lock).map_err(failed)
    }
}

/// Listens where nobody may who doesn't have the lock; what is there is stale.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The lock is what counts; a file that stays is taken away by the next holder.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::lock_info;

    #[tokio::test]
    async fn there_is_one_holder_and_a_stale_socket_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        home.runtime_directory().unwrap();
        fs::write(home.control_socket(), "stale").unwrap();
        let holder = Holder::claim(&home).unwrap().unwrap();
        assert!(Holder::claim(&home).unwrap().is_none());
        drop(holder);
        assert!(Holder::claim(&home).unwrap().is_some());
    }

    #[tokio::test]
    async fn a_home_has_one_holder_whatever_place_for_sockets_each_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("home");
        let place = directory.path().join("user");
        let session = Home::new(root.clone(), Some(place.clone()), None);
        let cron = Home::new(root, None, None);
        for (first, second) in [(&session, &cron), (&cron, &session)] {
            let holder = Holder::claim(first).unwrap().unwrap();
            assert!(Holder::claim(second).unwrap().is_none());
            assert_eq!(lock_info::socket(second), first.control_socket());
            let found = tokio::net::UnixStream::connect(lock_info::socket(second)).await;
            drop((found.unwrap(), holder));
        }
        // Another home of the same user has its own there.
        let other = Home::new(directory.path().join("other"), Some(place), None);
        let _one = Holder::claim(&session).unwrap().unwrap();
        let _two = Holder::claim(&other).unwrap().unwrap();
        assert!(session.control_socket().exists() && other.control_socket().exists());
    }
}
