//! The directory of our own state, `~/.lxc-dev-manager`, and how files in it are written.
//!
//! Invariants: directories that we make are 0700 and files are 0600; a JSON file has a `version`, is replaced
//! as a whole (temporary file, fsync, rename), and one that can't be read is set aside, not
//! overwritten.

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

/// Where our state lives.
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

    /// The registry of known projects.
    #[must_use]
    pub fn projects_file(&self) -> PathBuf {
        self.root.join("projects.json")
    }

    /// What the user prefers.
    #[must_use]
    pub fn preferences_file(&self) -> PathBuf {
        self.root.join("preferences.json")
    }

    /// The user's own templates; it need not be there.
    #[must_use]
    pub fn templates_directory(&self) -> PathBuf {
        self.root.join("templates")
    }

    /// A directory of ours, made with mode 0700 where it is missing.
    ///
    /// # Errors
    /// `Io` where it can't be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        make_private_directory(&path)?;
        Ok(path)
    }

    /// The directory for sockets, made with mode 0700 where it is missing.
    ///
    /// # Errors
    /// `Io` where it can't be made.
    pub fn runtime_directory(&self) -> Result<PathBuf> {
        make_private_directory(&self.runtime)?;
        Ok(self.runtime.clone())
    }

    /// Holds off others who change one of the files that several processes write, until the value is dropped.
    ///
    /// # Errors
    /// `Io` where the directory can't be made or locked.
    pub(crate) fn lock(&self) -> Result<fs::File> {
        let root = self.directory("")?;
        let failed = |error| Error::io(format!("cannot lock {}", root.display()), error);
        let file = fs::File::open(&root).map_err(failed)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(file)
    }

    /// The socket on which this process would answer. Who answers now is said in the lock's file: it may have been
    /// given another place for sockets.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join(self.socket_name("control"))
    }

    /// The file that the process holds locked which answers for this home. It is beside the state, on which all agree
    /// who use it, and not beside the sockets.
    ///
    /// # Errors
    /// `Io` where its directory can't be made.
    pub fn control_lock(&self) -> Result<PathBuf> {
        Ok(self.directory("run")?.join("control.lock"))
    }

    /// The socket on which listeners are handed over.
    #[must_use]
    pub(crate) fn handover_socket(&self) -> PathBuf {
        self.runtime.join(self.socket_name("next"))
    }

    /// The name of a socket of this home: the place for sockets may serve several.
    fn socket_name(&self, name: &str) -> String {
        if self.runtime.starts_with(&self.root) {
            return format!("{name}.sock");
        }
        let digest = Sha256::digest(self.root.as_os_str().as_bytes());
        let own: String = digest[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{name}-{own}.sock")
    }
}

pub(crate) fn make_private_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            Error::io(
                format!("cannot make the directory {}", path.display()),
                error,
            )
        })
}

/// The beginning of each of our files.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    version: u32,
}

/// Reads a JSON file of ours, of this version or an older one; a missing one is `None`.
///
/// # Errors
/// `Io` where it can't be read; `Config` where a newer version of this program has written it. One that is there and
/// isn't what it should be is renamed to `NAME.broken` and treated as missing; the second value says so.
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
            let aside = aside(path);
            fs::rename(path, &aside)
                .map_err(|error| Error::io(format!("cannot move {}", path.display()), error))?;
            let warning = format!(
                "{} can't be read ({error}); it was set aside as {}",
                path.display(),
                aside.display()
            );
            Ok((None, Some(warning)))
        }
    }
}

/// Reads all JSON files of a directory. Those of newer versions are left alone, with what they say.
///
/// # Errors
/// `Io` where one can't be read.
pub(crate) fn read_all<T: DeserializeOwned>(directory: &Path, version: u32) -> Result<Vec<T>> {
    let failed = |error| Error::io(format!("cannot read {}", directory.display()), error);
    let mut all = Vec::new();
    for file in fs::read_dir(directory).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        match read_json(&path, version) {
            Ok((read, warning)) => {
                all.extend(read);
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
        "{path} was written by a newer version of this program: its format is {found}, and {known} is the newest that \
         this one knows"
    );
    Error::new(ErrorKind::Config, message).with_hint(format!(
        "update this one; or begin anew without it: `mv {path} {path}.newer`"
    ))
}

/// Where a file goes that can't be read: what went there before stays.
fn aside(path: &Path) -> PathBuf {
    let first = path.with_extension("json.broken");
    let mut others = (2..).map(|number: u32| path.with_extension(format!("json.broken-{number}")));
    match first.exists() {
        true => others.find(|path| !path.exists()).unwrap_or(first),
        false => first,
    }
}

/// Replaces a JSON file of ours as a whole.
///
/// # Errors
/// `Io` where the disk is full or the directory can't be written; the old file is kept then.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", path.display()), error);
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    let directory = path.parent().unwrap_or(Path::new("/"));
    make_private_directory(directory)?;
    replace(path, &text, fs::Permissions::from_mode(0o600)).map_err(failed)
}

/// Writes a file beside `path`, flushes it to the disk and renames it over `path`.
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
    fn a_broken_file_is_set_aside_and_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("projects.json");
        fs::write(&path, "{ not json").unwrap();
        let (value, warning) = read_json::<Vec<u8>>(&path, 1).unwrap();
        assert_eq!(value, None);
        assert!(warning.unwrap().contains("set aside"));
        assert_eq!(
            fs::read_to_string(path.with_extension("json.broken")).unwrap(),
            "{ not json"
        );
        // The next one doesn't replace it.
        fs::write(&path, "worse").unwrap();
        read_json::<Vec<u8>>(&path, 1).unwrap();
        let text = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(text("projects.json.broken"), "{ not json");
        assert_eq!(text("projects.json.broken-2"), "worse");
    }

    #[test]
    fn what_a_newer_version_wrote_is_neither_read_nor_set_aside() {
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
        // Where each file is of its own, it is left out.
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
