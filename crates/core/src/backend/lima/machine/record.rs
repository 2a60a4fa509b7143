//! Our record of a machine: a file in its directory.
//!
//! Lima's `rename`, `clone` and `delete` include unknown files, so the record stays with the machine. A machine
//! without one is foreign. A copy made by `limactl clone` has the record of its source, and is recognized by the name
//! in it, as long as another machine has the same id; otherwise the machine was renamed.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::json;
use super::directory::Directory;
use crate::backend::{Marks, Mount, Nesting, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::home::write_json;
use crate::model::{Fingerprint, GuestPort, InstanceName, Limits};

pub(crate) const FILE: &str = "lxc-dev-manager.json";

/// Content of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Name of the directory of its snapshots.
    pub(crate) id: Uuid,
    name: String,
    /// The old name during a rename: the directory has one of the two.
    #[serde(default)]
    previous: Option<String>,
    #[serde(default)]
    marks: StoredMarks,
    /// The requested limits.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The limits written to `lima.yaml`, which a user may have edited since.
    #[serde(default)]
    pub(crate) written: Limits,
    /// The template's limits.
    #[serde(default)]
    pub(crate) defaults: Limits,
    #[serde(default)]
    nesting: String,
    #[serde(default)]
    pub(crate) template_mounts: Vec<Mount>,
    /// Ports forwarded by Lima.
    #[serde(default)]
    pub(crate) native_ports: Vec<GuestPort>,
    #[serde(default)]
    pub(crate) rosetta: bool,
    pub(crate) base_image: Option<Fingerprint>,
    /// Host agent's pid of a boot, and the guest's address on the host's network in it.
    #[serde(default)]
    pub(crate) address: Option<(u32, IpAddr)>,
    /// It is a copy and still has the machine id of its source.
    #[serde(default, rename = "is_new")]
    pub(crate) has_source_id: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct StoredMarks {
    project: Option<String>,
    env: Option<String>,
    path: Option<PathBuf>,
    operation: Option<String>,
}

impl Record {
    /// Creates the record of a new machine.
    pub(crate) fn new(name: &InstanceName) -> Self {
        Self {
            version: json::VERSION,
            id: Uuid::new_v4(),
            name: name.to_string(),
            previous: None,
            marks: StoredMarks::default(),
            limits: Limits::default(),
            written: Limits::default(),
            defaults: Limits::default(),
            nesting: String::new(),
            template_mounts: Vec::new(),
            native_ports: Vec::new(),
            rosetta: false,
            base_image: None,
            address: None,
            has_source_id: true,
        }
    }

    /// Reads a machine's record; `None` for a foreign machine.
    ///
    /// # Errors
    /// `Config` if it cannot be read, `Unsupported` for a newer version; such a machine must not be changed.
    pub(crate) fn read(directory: &Directory, name: &InstanceName) -> Result<Option<Self>> {
        let Some(text) = directory.text(FILE)? else {
            return Ok(None);
        };
        let read: Self =
            json::parse(&directory.file(FILE), text.as_bytes()).map_err(with_hint_for_invalid)?;
        let names = std::iter::once(&read.name).chain(&read.previous);
        let has_own_name = names.into_iter().any(|known| known == name.as_str());
        Ok((has_own_name || read.has_unique_id(directory)).then_some(read))
    }

    /// Whether no other machine has the same id; false if a record cannot be read.
    fn has_unique_id(&self, directory: &Directory) -> bool {
        let own = directory.path();
        let machines = own.parent().and_then(|home| std::fs::read_dir(home).ok());
        let Some(machines) = machines else {
            return false;
        };
        let mut others = machines.flatten().map(|entry| entry.path());
        others.all(|other| {
            other == own || id_at(&other.join(FILE)).is_ok_and(|id| id != Some(self.id))
        })
    }

    /// The recorded name, if the machine was renamed outside of this program.
    pub(crate) fn previous_name(&self, name: &InstanceName) -> Option<String> {
        let mut names = std::iter::once(&self.name).chain(&self.previous);
        (!names.any(|known| known == name.as_str())).then(|| self.name.clone())
    }

    /// Sets a new name. Written before and after the directory is renamed.
    pub(crate) fn rename(&mut self, old: Option<&InstanceName>, new: &InstanceName) {
        self.name = new.to_string();
        self.previous = old.map(ToString::to_string);
    }

    /// Writes the record atomically.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&self, directory: &Directory) -> Result<()> {
        write_json(&directory.file(FILE), self)
    }

    /// Writes the record of a machine that is being assembled.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write_at(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Copies the settings of the source of a copy.
    pub(crate) fn inherit(&mut self, source: &Self) {
        self.written = source.written;
        self.defaults = source.defaults;
        self.limits = source.limits;
        self.nesting.clone_from(&source.nesting);
        self.template_mounts.clone_from(&source.template_mounts);
        self.native_ports.clone_from(&source.native_ports);
        self.rosetta = source.rosetta;
        self.base_image.clone_from(&source.base_image);
    }

    /// The machine's owner; invalid names are dropped.
    pub(crate) fn marks(&self) -> Marks {
        let StoredMarks {
            project,
            env,
            path,
            operation,
        } = &self.marks;
        Marks {
            project: project.as_ref().and_then(|name| name.parse().ok()),
            env: env.as_ref().and_then(|name| name.parse().ok()),
            path: path.clone(),
            operation: operation.as_ref().and_then(|id| id.parse().ok()),
        }
    }

    pub(crate) fn set_marks(&mut self, marks: &Marks) {
        self.marks = StoredMarks {
            project: marks.project.as_ref().map(ToString::to_string),
            env: marks.env.as_ref().map(ToString::to_string),
            path: marks.path.clone(),
            operation: marks.operation.as_ref().map(ToString::to_string),
        };
    }

    pub(crate) fn nesting(&self) -> Nesting {
        match self.nesting.as_str() {
            "off" => Nesting::Off,
            "docker" => Nesting::Docker,
            _ => Nesting::On,
        }
    }

    /// Records the requested settings, except mounts, which are in `lima.yaml`.
    pub(crate) fn set_settings(&mut self, settings: &Settings) {
        self.limits = settings.limits;
        self.native_ports.clone_from(&settings.native_ports);
        self.rosetta = settings.rosetta;
        self.nesting = match settings.nesting {
            Nesting::On => "on",
            Nesting::Off => "off",
            Nesting::Docker => "docker",
        }
        .to_owned();
    }
}

/// Records whether a machine still has the machine id of its source, if it has a record.
///
/// # Errors
/// Those of reading and writing the record.
pub(crate) fn set_source_id(machine: &Directory, has_source_id: bool) -> Result<()> {
    let path = machine.file(FILE);
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let mut record: Record = json::read(&path).map_err(with_hint_for_invalid)?;
    if record.has_source_id == has_source_id {
        return Ok(());
    }
    record.has_source_id = has_source_id;
    record.write(machine)
}

/// Reads the id of a record; `None` if the file is missing.
///
/// # Errors
/// `Config` if it cannot be read, `Unsupported` for a newer version.
pub(crate) fn id_at(path: &Path) -> Result<Option<Uuid>> {
    #[derive(Deserialize)]
    struct Id {
        id: Uuid,
    }
    match path.symlink_metadata() {
        Ok(_) => {
            let Id { id } = json::read(path).map_err(with_hint_for_invalid)?;
            Ok(Some(id))
        }
        Err(error) if is_missing(path, &error) => Ok(None),
        // Nobody knows whose machine it is then.
        Err(error) => Err(Error::io(
            format!("cannot look at {}", path.display()),
            error,
        )),
    }
}

/// Whether a file is missing. Behind a dangling link it may be on an unmounted volume.
fn is_missing(path: &Path, error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let is_link = path.parent().is_some_and(Path::is_symlink);
    match error.kind() {
        NotFound => !is_link || path.parent().is_some_and(Path::exists),
        NotADirectory => true,
        _ => false,
    }
}

/// Adds a hint for an invalid record.
fn with_hint_for_invalid(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Config => {
            error.with_hint("delete that file to release the machine, which stays unchanged")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_read_only_for_its_own_machine() {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "web-dev".parse().unwrap();
        let directory = Directory::new(home.path(), &name);
        assert!(Record::read(&directory, &name).unwrap().is_none());
        let mut record = Record::new(&name);
        let marks = Marks {
            project: "web".parse().ok(),
            env: "dev".parse().ok(),
            path: Some("/src/web".into()),
            operation: Some(crate::model::OperationId::random()),
        };
        record.set_marks(&marks);
        record.set_settings(&Settings {
            nesting: Nesting::Docker,
            ..Settings::default()
        });
        record.write(&directory).unwrap();
        let read = Record::read(&directory, &name).unwrap().unwrap();
        assert_eq!(read.marks(), marks);
        assert_eq!(read.nesting(), Nesting::Docker);
        // Copied by `limactl clone`.
        let other: InstanceName = "copy".parse().unwrap();
        let copy = Directory::new(home.path(), &other);
        std::fs::create_dir(copy.path()).unwrap();
        std::fs::copy(directory.file(FILE), copy.file(FILE)).unwrap();
        assert!(Record::read(&copy, &other).unwrap().is_none());
        // During a rename both names are valid.
        let mut record = read;
        record.rename(Some(&name), &other);
        record.write(&directory).unwrap();
        for name in [&name, &other] {
            assert!(Record::read(&directory, name).unwrap().is_some());
        }
        record.rename(None, &name);
        record.write(&directory).unwrap();
        // `limactl rename` is a clone whose source is gone.
        std::fs::remove_dir_all(directory.path()).unwrap();
        let renamed = Record::read(&copy, &other).unwrap().unwrap();
        assert_eq!(renamed.id, record.id);
        assert_eq!(renamed.previous_name(&other).as_deref(), Some("web-dev"));
        // Another machine may have its name meanwhile.
        Record::new(&name).write(&directory).unwrap();
        assert!(Record::read(&copy, &other).unwrap().is_some());
        std::fs::write(directory.file(FILE), "{").unwrap();
        let error = Record::read(&directory, &name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint().is_some());
        std::fs::write(directory.file(FILE), "{\"version\": 9}").unwrap();
        let error = Record::read(&directory, &name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().message.contains(FILE), "{error:?}");
    }
}
