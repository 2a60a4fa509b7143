//! The directory of our state, `~/.lxc-dev-manager`, and writing of its files.
//!
//! Invariants: our directories are 0700 and files are 0600; a JSON file has a `version` and is
//! replaced atomically (temporary file, fsync, rename); an invalid one is renamed, not overwritten.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::hex;

/// Enough for the journal, the undo ledger and the registry.
const RESERVE_BYTES: usize = 256 * 1024;

/// The directories of our state.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
    runtime: PathBuf,
    user_ssh: Option<PathBuf>,
}

impl Home {
    /// State in `root`; sockets in `runtime`, else in `root`; the user's own SSH keys in `user_ssh`.
    #[must_use]
    pub fn new(root: PathBuf, runtime: Option<PathBuf>, user_ssh: Option<PathBuf>) -> Self {
        let runtime = runtime.unwrap_or_else(|| root.join("run"));
        Self {
            root,
            runtime,
            user_ssh,
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The user's `~/.ssh`, if known.
    #[must_use]
    pub fn user_ssh(&self) -> Option<&Path> {
        self.user_ssh.as_deref()
    }

    /// The user's own home, if known.
    #[must_use]
    pub fn user_home(&self) -> Option<&Path> {
        self.user_ssh().and_then(Path::parent)
    }

    /// The registry of projects.
    #[must_use]
    pub fn projects_file(&self) -> PathBuf {
        self.root.join("projects.json")
    }

    /// The user's answers about projects' files.
    #[must_use]
    pub fn trust_file(&self) -> PathBuf {
        self.root.join("trust.json")
    }

    /// The user's preferences.
    #[must_use]
    pub fn preferences_file(&self) -> PathBuf {
        self.root.join("preferences.json")
    }

    /// The user's templates; may not exist.
    #[must_use]
    pub fn templates_directory(&self) -> PathBuf {
        self.root.join("templates")
    }

    /// A directory of our state, created with mode 0700 if missing.
    ///
    /// # Errors
    /// `Io` if it cannot be created.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        create_private_directory(&path)?;
        Ok(path)
    }

    /// The directory for sockets, created with mode 0700 if missing.
    ///
    /// # Errors
    /// `Io` if it cannot be created.
    pub fn runtime_directory(&self) -> Result<PathBuf> {
        create_private_directory(&self.runtime)?;
        Ok(self.runtime.clone())
    }

    /// Makes room for an operation's own files: a reserve is released when the disk of the state is full, and filled
    /// again when it is not. So a full disk stops neither `remove` nor `gc`.
    pub(crate) fn make_room(&self) {
        let path = self.root.join("reserve");
        let Ok(space) = rustix::fs::statvfs(&self.root) else {
            return;
        };
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let done = if free < RESERVE_BYTES as u64 / 4 {
            fs::remove_file(&path)
        } else if free > 16 * RESERVE_BYTES as u64 && !path.exists() {
            replace(
                &path,
                &[0; RESERVE_BYTES],
                fs::Permissions::from_mode(0o600),
            )
        } else {
            return;
        };
        if let Err(error) = done {
            tracing::debug!(%error, "cannot change the reserve");
        }
    }

    /// Locks the files that several processes write, until the value is dropped.
    ///
    /// # Errors
    /// `Io` if the directory cannot be created or locked.
    pub(crate) fn lock(&self) -> Result<fs::File> {
        let root = self.directory("")?;
        let failed = |error| Error::io(format!("cannot lock {}", root.display()), error);
        let file = fs::File::open(&root).map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(file)
    }

    /// The control socket of this process. The running process's socket is in the lock file: its
    /// runtime directory may differ.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join(self.socket_name("control"))
    }

    /// The file locked by the process that serves this home. It is in the state directory, which
    /// all users of the home share, unlike the runtime directory.
    ///
    /// # Errors
    /// `Io` if its directory cannot be created.
    pub fn control_lock(&self) -> Result<PathBuf> {
        Ok(self.directory("run")?.join("control.lock"))
    }

    /// The socket for handing over listeners.
    #[must_use]
    pub(crate) fn handover_socket(&self) -> PathBuf {
        self.runtime.join(self.socket_name("next"))
    }

    /// The file name of a socket: a runtime directory may serve several homes.
    fn socket_name(&self, name: &str) -> String {
        if self.runtime.starts_with(&self.root) {
            return format!("{name}.sock");
        }
        let digest = Sha256::digest(self.root.as_os_str().as_bytes());
        format!("{name}-{}.sock", hex::encode(&digest[..4]))
    }
}

pub(crate) fn create_private_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            Error::io(
                format!("cannot create the directory {}", path.display()),
                error,
            )
        })
}

/// The common part of our files.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    version: u32,
}

/// Reads a JSON file of our state, of this version or an older one; a missing one is `None`. An
/// invalid file is renamed to `NAME.broken` and treated as missing, with a warning.
///
/// # Errors
/// `Io` if unreadable; `Config` if a newer version of this program has written it.
pub fn read_json<T: DeserializeOwned>(
    path: &Path,
    version: u32,
) -> Result<(Option<T>, Option<String>)> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
        Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
    };
    if let Ok(header) = serde_json::from_slice::<Header>(&text)
        && header.version > version
    {
        return Err(too_new(path, header.version, version));
    }
    match serde_json::from_slice(&text) {
        Ok(value) => Ok((Some(value), None)),
        Err(error) => {
            let broken = broken_path(path);
            fs::rename(path, &broken)
                .map_err(|error| Error::io(format!("cannot move {}", path.display()), error))?;
            let warning = format!(
                "{} is invalid ({error}); it was moved to {}",
                path.display(),
                broken.display()
            );
            Ok((None, Some(warning)))
        }
    }
}

/// Reads all JSON files of a directory; logs and skips those of newer versions.
///
/// # Errors
/// `Io` if one is unreadable.
pub(crate) fn read_all<T: DeserializeOwned>(directory: &Path, version: u32) -> Result<Vec<T>> {
    let failed = |error| Error::io(format!("cannot read {}", directory.display()), error);
    let mut all = Vec::new();
    for file in fs::read_dir(directory).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read_json(&path, version) {
            Ok((value, warning)) => {
                all.extend(value);
                if let Some(warning) = warning {
                    tracing::warn!("{warning}");
                }
            }
            Err(error) if error.kind() == ErrorKind::Config => tracing::warn!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn too_new(path: &Path, found: u32, known: u32) -> Error {
    let path = path.display();
    let message = format!(
        "{path} was written by a newer version of this program: expected format {known} or older, found {found}"
    );
    Error::new(ErrorKind::Config, message).with_hint(format!(
        "update this program, or start without the file: `mv {path} {path}.newer`"
    ))
}

/// The path for a broken file; earlier ones are not overwritten.
fn broken_path(path: &Path) -> PathBuf {
    let first = path.with_extension("json.broken");
    let mut others = (2..).map(|number: u32| path.with_extension(format!("json.broken-{number}")));
    if first.exists() {
        others.find(|path| !path.exists()).unwrap_or(first)
    } else {
        first
    }
}

/// Replaces a JSON file of our state atomically.
///
/// # Errors
/// `Io` if it cannot be written; the old file stays.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", path.display()), error);
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    let directory = path.parent().unwrap_or(Path::new("/"));
    create_private_directory(directory)?;
    replace(path, &text, fs::Permissions::from_mode(0o600)).map_err(failed)
}

/// Replaces a file atomically: temporary file, fsync, rename.
pub(crate) fn replace(path: &Path, text: &[u8], mode: fs::Permissions) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".ldm-")
        .tempfile_in(directory)?;
    file.as_file().set_permissions(mode)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_a_broken_file_with_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("projects.json");
        fs::write(&path, "{ not json").unwrap();
        let (value, warning) = read_json::<Vec<u8>>(&path, 1).unwrap();
        assert_eq!(value, None);
        assert!(warning.unwrap().contains("moved to"));
        assert_eq!(
            fs::read_to_string(path.with_extension("json.broken")).unwrap(),
            "{ not json"
        );
        // A second broken file does not replace the first.
        fs::write(&path, "worse").unwrap();
        read_json::<Vec<u8>>(&path, 1).unwrap();
        let text = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(text("projects.json.broken"), "{ not json");
        assert_eq!(text("projects.json.broken-2"), "worse");
    }

    #[test]
    fn keeps_files_of_a_newer_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("focus.json");
        for later in [r#"{"version": 3, "ports": {}}"#, r#"{"version": 3}"#] {
            fs::write(&path, later).unwrap();
            let error = read_json::<serde_json::Value>(&path, 2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
            assert!(error.hint().unwrap().contains("update"), "{error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), later);
        }
        let (older, _) = read_json::<serde_json::Value>(&path, 3).unwrap();
        assert!(older.is_some());
        // A directory's other files are still read.
        write_json(&directory.path().join("mine.json"), &1).unwrap();
        assert_eq!(read_all::<u32>(directory.path(), 2).unwrap(), [1]);
        assert!(path.exists());
    }

    #[test]
    fn files_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/x.json");
        write_json(&path, &[1, 2]).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let parent = path.parent().unwrap();
        assert_eq!(
            fs::metadata(parent).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
