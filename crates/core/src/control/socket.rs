//! Ownership of the control socket.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

use super::lock_info::LockInfo;
use crate::error::{Error, Result};
use crate::home::Home;

/// The control socket, owned until dropped.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    lock: File,
    /// Socket on which the previous owner hands its listeners over.
    handover: Option<PathBuf>,
}

impl ControlSocket {
    /// Claims the control socket of a home; `None` if another process owns it.
    ///
    /// # Errors
    /// `Io` if the directories cannot be written.
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

    /// Takes the socket on which the previous owner hands its listeners over.
    pub(crate) fn take_handover(&mut self) -> Option<PathBuf> {
        self.handover.take()
    }

    /// Releases the control socket, and announces where the next owner gets the listeners.
    ///
    /// # Errors
    /// `Io` if the lock file cannot be written.
    pub(crate) fn hand_over(mut self, handover: &Path) -> Result<()> {
        let lock_info = LockInfo {
            socket: self.path.clone(),
            handover: Some(handover.to_path_buf()),
        };
        let failed = |error| Error::io("cannot write the lock file", error);
        lock_info.write(&mut self.lock).map_err(failed)
    }
}

/// Replaces a stale socket. The caller has the lock.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A stale file is replaced by the next owner.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::lock_info;

    #[tokio::test]
    async fn claims_once_and_replaces_stale_socket() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        home.runtime_directory().unwrap();
        fs::write(home.control_socket(), "stale").unwrap();
        let socket = ControlSocket::claim(&home).unwrap().unwrap();
        assert!(ControlSocket::claim(&home).unwrap().is_none());
        drop(socket);
        assert!(ControlSocket::claim(&home).unwrap().is_some());
    }

    #[tokio::test]
    async fn claims_once_across_runtime_directories() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("home");
        let runtime = directory.path().join("user");
        let session = Home::new(root.clone(), Some(runtime.clone()), None);
        let cron = Home::new(root, None, None);
        for (first, second) in [(&session, &cron), (&cron, &session)] {
            let socket = ControlSocket::claim(first).unwrap().unwrap();
            assert!(ControlSocket::claim(second).unwrap().is_none());
            assert_eq!(lock_info::socket_path(second), first.control_socket());
            let found = tokio::net::UnixStream::connect(lock_info::socket_path(second)).await;
            drop((found.unwrap(), socket));
        }
        // Two homes share a runtime directory.
        let other = Home::new(directory.path().join("other"), Some(runtime), None);
        let _one = ControlSocket::claim(&session).unwrap().unwrap();
        let _two = ControlSocket::claim(&other).unwrap().unwrap();
        assert!(session.control_socket().exists() && other.control_socket().exists());
    }
}
