//! The lock of an env: one operation at a time, across processes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::InstanceName;
use crate::view::OperationKind;

/// Held until dropped.
pub(super) struct EnvLock {
    _file: File,
}

/// Who holds a lock, for those who wait. Only a text: the lock itself is the kernel's.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    #[serde(rename = "verb")]
    kind: OperationKind,
}

impl EnvLock {
    /// Takes the lock of an instance, and says who has it while it waits.
    pub(super) async fn take(
        home: &Home,
        instance: &InstanceName,
        kind: OperationKind,
        waiting: impl FnOnce(String),
    ) -> Result<Self> {
        let (mut file, failed) = open(home, instance)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            waiting(describe(&mut file, instance));
            file = tokio::task::spawn_blocking(move || {
                flock(&file, FlockOperation::LockExclusive).map(|()| file)
            })
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "a lock broke").caused_by(error))?
            .map_err(|error| failed(error.into()))?;
        }
        Self::sign(file, kind).map_err(failed)
    }

    /// Takes the lock of an instance, unless somebody has it.
    pub(super) fn try_take(
        home: &Home,
        instance: &InstanceName,
        kind: OperationKind,
    ) -> Result<Option<Self>> {
        let (file, failed) = open(home, instance)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        Self::sign(file, kind).map(Some).map_err(failed)
    }

    fn sign(mut file: File, kind: OperationKind) -> io::Result<Self> {
        let holder = serde_json::to_vec(&Holder {
            pid: std::process::id(),
            kind,
        })?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&holder)?;
        Ok(Self { _file: file })
    }
}

/// The file of a lock, and what to say where it can't be used.
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

fn describe(file: &mut File, instance: &InstanceName) -> String {
    let mut text = String::new();
    let holder = file.read_to_string(&mut text).ok();
    match holder.and_then(|_| serde_json::from_str::<Holder>(&text).ok()) {
        Some(Holder { pid, kind }) => {
            format!(
                "waiting for process {pid}, which works on `{instance}` ({})",
                kind.word()
            )
        }
        None => format!("waiting for another process that works on `{instance}`"),
    }
}
