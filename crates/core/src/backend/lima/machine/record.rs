//! What we know of a machine beyond Lima: a file of ours in its directory.
//!
//! Lima's own `rename`, `clone` and `delete` take files along that they don't know, so it is where the
//! machine is. A machine without one isn't ours. A copy that Lima itself has made carries its source's:
//! such a one is known by the name in it, while its source has the same. Where nobody else has it, the machine was
//! renamed.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::lima::json;
use crate::backend::lima::machine::directory::Directory;
use crate::backend::{Marks, Mount, Nesting, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::home::write_json;
use crate::model::{Fingerprint, GuestPort, InstanceName, Limits};

/// Its name.
pub(crate) const FILE: &str = "lxc-dev-manager.json";

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Names what is kept of it elsewhere: its snapshots.
    pub(crate) id: Uuid,
    /// The machine's name.
    name: String,
    /// Its name before, while it is renamed: its directory has one of the two.
    #[serde(default)]
    previous: Option<String>,
    #[serde(default)]
    marks: Written,
    /// What was asked for.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// What that came to in `lima.yaml`: a user may have changed it there since.
    #[serde(default)]
    pub(crate) written: Limits,
    /// What its template says where nothing is asked for.
    #[serde(default)]
    pub(crate) defaults: Limits,
    #[serde(default)]
    nesting: String,
    /// Directories that its template has it see, beside the env's own.
    #[serde(default)]
    pub(crate) template_mounts: Vec<Mount>,
    /// Ports that Lima forwards.
    #[serde(default)]
    pub(crate) native_ports: Vec<GuestPort>,
    #[serde(default)]
    pub(crate) rosetta: bool,
    /// The image that it was made from.
    pub(crate) base_image: Option<Fingerprint>,
    /// The guest's address on the host's own network, and the host agent of the boot that has it.
    #[serde(default)]
    pub(crate) address: Option<(u32, IpAddr)>,
    /// It is a copy, and still has its source's machine id.
    #[serde(default)]
    pub(crate) is_new: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Written {
    project: Option<String>,
    env: Option<String>,
    path: Option<PathBuf>,
    operation: Option<String>,
}

impl Record {
    /// One of a new machine.
    pub(crate) fn new(name: &InstanceName) -> Self {
        Self {
            version: json::VERSION,
            id: Uuid::new_v4(),
            name: name.to_string(),
            previous: None,
            marks: Written::default(),
            limits: Limits::default(),
            written: Limits::default(),
            defaults: Limits::default(),
            nesting: String::new(),
            template_mounts: Vec::new(),
            native_ports: Vec::new(),
            rosetta: false,
            base_image: None,
            address: None,
            is_new: true,
        }
    }

    /// That of a machine; `None` for one that isn't ours.
    ///
    /// # Errors
    /// `Config` for a file that can't be read, `Unsupported` for a newer one: nobody knows then whose the
    /// machine is, so nothing is done to it.
    pub(crate) fn read(directory: &Directory, name: &InstanceName) -> Result<Option<Self>> {
        let Some(text) = directory.text(FILE)? else {
            return Ok(None);
        };
        let read: Self = json::parse(&directory.file(FILE), text.as_bytes()).map_err(explained)?;
        let names = std::iter::once(&read.name).chain(&read.previous);
        let is_its_own = names.into_iter().any(|known| known == name.as_str());
        Ok((is_its_own || read.is_the_only_one(directory)).then_some(read))
    }

    /// Whether no other machine has the same id. Of one whose record can't be read nobody knows.
    fn is_the_only_one(&self, directory: &Directory) -> bool {
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

    /// The name that we gave the machine, where it has another one now.
    pub(crate) fn other_name(&self, name: &InstanceName) -> Option<String> {
        let mut names = std::iter::once(&self.name).chain(&self.previous);
        (!names.any(|known| known == name.as_str())).then(|| self.name.clone())
    }

    /// Notes that the machine gets another name. Written before its directory has it, and once more after.
    pub(crate) fn rename(&mut self, old: Option<&InstanceName>, new: &InstanceName) {
        self.name = new.to_string();
        self.previous = old.map(ToString::to_string);
    }

    /// Writes it, as a whole.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write(&self, directory: &Directory) -> Result<()> {
        write_json(&directory.file(FILE), self)
    }

    /// Writes it where its machine is put together.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn write_at(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Takes over what a copy has from its source.
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

    /// Whose the machine is. A name that can't be read is none.
    pub(crate) fn marks(&self) -> Marks {
        let Written {
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
        self.marks = Written {
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

    /// Notes what was asked for; mounts stand in `lima.yaml`.
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

/// Notes whether a machine is a copy that still has its source's machine id, if it has a record.
///
/// # Errors
/// Those of reading and writing it.
pub(crate) fn note_new(machine: &Directory, is_new: bool) -> Result<()> {
    let path = machine.file(FILE);
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let mut record: Record = json::read(&path).map_err(explained)?;
    if record.is_new == is_new {
        return Ok(());
    }
    record.is_new = is_new;
    record.write(machine)
}

/// The id in a record; `None` where there is no such file.
///
/// # Errors
/// `Config` for one that can't be read, `Unsupported` for a newer one.
pub(crate) fn id_at(path: &Path) -> Result<Option<Uuid>> {
    #[derive(Deserialize)]
    struct Id {
        id: Uuid,
    }
    // What isn't below a directory isn't there either.
    match path.symlink_metadata() {
        Ok(_) => {
            let Id { id } = json::read(path).map_err(explained)?;
            Ok(Some(id))
        }
        Err(error) if is_absent(path, &error) => Ok(None),
        // Nobody knows whose machine it is then.
        Err(error) => Err(Error::io(
            format!("cannot look at {}", path.display()),
            error,
        )),
    }
}

/// Whether a file isn't there, and neither is what it would be in: a link to a volume that isn't mounted may well lead there.
fn is_absent(path: &Path, error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let is_link = path.parent().is_some_and(Path::is_symlink);
    match error.kind() {
        NotFound => !is_link || path.parent().is_some_and(Path::exists),
        NotADirectory => true,
        _ => false,
    }
}

/// Says what can be done about a record that isn't whole.
fn explained(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Config => {
            error.with_hint("delete that file to give the machine up: nothing else of it changes")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_written_and_only_to_its_own_machine() {
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
        // Lima's own clone has copied it.
        let other: InstanceName = "copy".parse().unwrap();
        let copy = Directory::new(home.path(), &other);
        std::fs::create_dir(copy.path()).unwrap();
        std::fs::copy(directory.file(FILE), copy.file(FILE)).unwrap();
        assert!(Record::read(&copy, &other).unwrap().is_none());
        // Half renamed, it is ours under both names.
        let mut record = read;
        record.rename(Some(&name), &other);
        record.write(&directory).unwrap();
        for name in [&name, &other] {
            assert!(Record::read(&directory, name).unwrap().is_some());
        }
        record.rename(None, &name);
        record.write(&directory).unwrap();
        // Lima's own rename is a clone without its source.
        std::fs::remove_dir_all(directory.path()).unwrap();
        let renamed = Record::read(&copy, &other).unwrap().unwrap();
        assert_eq!(renamed.id, record.id);
        assert_eq!(renamed.other_name(&other).as_deref(), Some("web-dev"));
        // Its name may have another machine meanwhile.
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
