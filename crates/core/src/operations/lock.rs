//! The lock of an env: one operation at a time, across processes.
//!
//! The lock is the kernel's; the content of its file only names the owner.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::home::Home;
use crate::model::InstanceName;
use crate::view::OperationKind;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The lock of an instance, held until dropped.
pub(super) struct EnvLock {
    _file: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct LockOwner {
    pid: u32,
    #[serde(rename = "verb")]
    kind: OperationKind,
}

impl EnvLock {
    /// Acquires the lock of an instance. Reports its owner through `waiting` if it has to wait.
    pub(super) async fn acquire(
        home: &Home,
        instance: &InstanceName,
        kind: OperationKind,
        waiting: impl FnOnce(String),
    ) -> Result<Self> {
        let (mut file, failed) = open(home, instance)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            waiting(waiting_message(&mut file, instance));
            // A wait in the kernel would hold a thread.
            while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                if error != Errno::WOULDBLOCK && error != Errno::INTR {
                    return Err(failed(error.into()));
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(Self::new(file, kind))
    }

    /// Acquires the lock of an instance unless it is held.
    pub(super) fn try_acquire(
        home: &Home,
        instance: &InstanceName,
        kind: OperationKind,
    ) -> Result<Option<Self>> {
        let (file, _) = open(home, instance)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        Ok(Some(Self::new(file, kind)))
    }

    fn new(mut file: File, kind: OperationKind) -> Self {
        let owner = LockOwner {
            pid: std::process::id(),
            kind,
        };
        let mut write = || -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&serde_json::to_vec(&owner)?)
        };
        // Only for messages; the disk may be full.
        if let Err(error) = write() {
            tracing::debug!(%error, "cannot name the owner of a lock");
        }
        Self { _file: file }
    }
}

/// Opens a lock file; also returns the error for a failure to use it.
fn open(
    home: &Home,
    instance: &InstanceName,
) -> Result<(File, impl Fn(io::Error) -> Error + use<>)> {
    let path = home.directory("run")?.join(format!("{instance}.lock"));
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let opened = options.open(&path);
    let failed = move |error| Error::io(format!("cannot lock {}", path.display()), error);
    Ok((opened.map_err(&failed)?, failed))
}

fn waiting_message(file: &mut File, instance: &InstanceName) -> String {
    let mut text = String::new();
    let read = file.read_to_string(&mut text).ok();
    match read.and_then(|_| serde_json::from_str::<LockOwner>(&text).ok()) {
        Some(LockOwner { pid, kind }) => {
            let noun = kind.labels().noun;
            format!("waiting for process {pid}: {noun} of `{instance}`")
        }
        None => format!("waiting for another process: `{instance}` is locked"),
    }
}
