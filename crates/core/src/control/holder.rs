//! Who holds the control socket.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;

use crate::error::{Error, Result};
use crate::home::Home;

/// The right to answer on the control socket; given back when dropped.
#[derive(Debug)]
pub struct Holder {
    /// Where clients arrive.
    pub(super) listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

impl Holder {
    /// Takes the socket, unless another process has it (`None`).
    ///
    /// # Errors
    /// `Io` where the directory can't be written.
    pub fn claim(home: &Home) -> Result<Option<Self>> {
        home.runtime_directory()?;
        let (path, lock) = (home.control_socket(), home.control_lock());
        let failed = |error| Error::io(format!("cannot listen on {}", path.display()), error);
        let mut options = OpenOptions::new();
        let options = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let lock = options.open(&lock).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Some(Self {
            listener,
            path,
            _lock: lock,
        }))
    }
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
}
