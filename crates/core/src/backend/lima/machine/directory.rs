//! A machine's directory in `LIMA_HOME`: its files, and the state they show.
//!
//! It contains `lima.yaml`, the disk (`disk`, or a link to `diffdisk` in older ones) and, while the machine runs,
//! `ha.pid` and the driver's `vz.pid` or `qemu.pid`. Pid files may be stale, so their owners are checked ([`pids`]).
//! Names with a leading dot or `_` are no machines.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::process::Pid;

use super::pids::{self, AGENT, DRIVERS, ForeignProcess, LiveProcess, PidOwner};
use super::record;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName};

/// The machine's settings.
pub(crate) const YAML: &str = "lima.yaml";
/// Exists while a machine must not be deleted.
const PROTECTED: &str = "protected";
/// The agent starts before its driver; Lima reports the machine as broken meanwhile.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// The longest socket name in a machine's directory: a temporary one of ssh.
const MAX_SOCKET_NAME: usize = "/ssh.sock.1234567890123456".len();
/// Limit of a socket's path, without the terminating NUL.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// Magic numbers of disks that are neither raw nor qcow2: Apple's sparse images, VMware's and Microsoft's.
const OTHER_FORMATS: [&[u8]; 3] = [b"shdw", b"KDMV", b"vhdxfile"];
/// Length of the longest one.
const MAX_MAGIC_BYTES: usize = 8;

/// The directory of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory of a machine of this name, which need not exist.
    pub(crate) fn new(home: &Path, name: &InstanceName) -> Self {
        Self {
            path: home.join(name.as_str()),
        }
    }

    /// Lists all machines by name; invalid names are skipped.
    ///
    /// # Errors
    /// `Io` if `LIMA_HOME` exists and cannot be read.
    pub(crate) fn all(home: &Path) -> Result<Vec<(InstanceName, Self)>> {
        let entries = match fs::read_dir(home) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::io(format!("cannot read {}", home.display()), error));
            }
        };
        let mut all: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = InstanceName::parse(entry.file_name().to_str()?).ok()?;
                let directory = Self::new(home, &name);
                directory.exists().then_some((name, directory))
            })
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The machine's name.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is a machine; one partially deleted by Lima may still have our record.
    pub(crate) fn exists(&self) -> bool {
        self.is_complete() || self.file(record::FILE).symlink_metadata().is_ok()
    }

    /// Whether it has a `lima.yaml`, without which Lima ignores it.
    pub(crate) fn is_complete(&self) -> bool {
        self.file(YAML).symlink_metadata().is_ok()
    }

    /// Whether the directory exists but is no machine.
    pub(crate) fn is_partial(&self) -> bool {
        self.path.symlink_metadata().is_ok() && !self.exists()
    }

    /// Reads a text file; `None` if it is missing.
    ///
    /// # Errors
    /// `Io`; `Config` if it is no text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        use io::Read;
        let path = self.file(name);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        };
        let mut text = String::new();
        let read = file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text);
        let read = read.and_then(|length| {
            if length as u64 > MAX_TEXT_BYTES {
                Err(io::ErrorKind::FileTooLarge.into())
            } else {
                Ok(())
            }
        });
        read.map_err(|error| {
            let message = format!("cannot read {}", path.display());
            Error::new(ErrorKind::Config, message).caused_by(error)
        })?;
        Ok(Some(text))
    }

    /// The machine's status by its pid files.
    pub(crate) fn status(&self) -> EnvStatus {
        let agent = self.pid(AGENT).is_some();
        let driver = DRIVERS.iter().any(|file| self.pid(file).is_some());
        match (agent, driver) {
            (true, true) => EnvStatus::Running,
            (false, false) if self.is_complete() => EnvStatus::Stopped,
            (true, false) if self.was_just_started() => EnvStatus::Running,
            _ => EnvStatus::Error,
        }
    }

    /// Whether the disk's file is consistent once the guest has flushed: true for raw, and for qcow2, whose tables qemu
    /// writes with each flush; not guaranteed for other formats.
    pub(crate) fn is_complete_when_flushed(&self) -> bool {
        use io::Read;
        let mut header = [0; MAX_MAGIC_BYTES];
        let disk = self.disk().and_then(|path| {
            let read = fs::File::open(&path).and_then(|mut file| file.read_exact(&mut header));
            read.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
        });
        disk.is_ok()
            && !OTHER_FORMATS
                .iter()
                .any(|format| header.starts_with(format))
    }

    /// Modification time and length of the disk.
    pub(crate) fn disk_written(&self) -> Result<(SystemTime, u64)> {
        let disk = self.disk()?;
        let found = fs::metadata(&disk).and_then(|found| Ok((found.modified()?, found.len())));
        found.map_err(|error| Error::io(format!("cannot read {}", disk.display()), error))
    }

    /// Whether any of its processes is alive.
    pub(crate) fn is_alive(&self) -> bool {
        let mut files = DRIVERS.into_iter().chain([AGENT]);
        files.any(|file| self.pid(file).is_some())
    }

    /// Pid and start time of this boot's agent, which identify the boot.
    pub(crate) fn boot(&self) -> Option<(u32, Option<Timestamp>)> {
        let pid = self.pid(AGENT)?;
        let written = fs::metadata(self.file(AGENT)).and_then(|found| found.modified());
        let since = written.ok().and_then(|time| Timestamp::try_from(time).ok());
        Some((pid.as_raw_nonzero().get().unsigned_abs(), since))
    }

    /// Whether a file was written in this boot.
    pub(crate) fn is_of_this_boot(&self, file: &str) -> bool {
        let written = |name| fs::metadata(self.file(name)).and_then(|found| found.modified());
        let (file, agent) = (written(file), written(AGENT));
        file.and_then(|file| Ok(file >= agent?)).unwrap_or(false)
    }

    fn was_just_started(&self) -> bool {
        let written = fs::metadata(self.file(AGENT)).and_then(|found| found.modified());
        let age = written.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        age.is_ok_and(|age| age < DRIVER_TIMEOUT)
    }

    /// The machine's live process from a pid file.
    fn pid(&self, file: &str) -> Option<Pid> {
        match pids::owner(&self.path, file) {
            PidOwner::Machine(pid) => Some(pid),
            PidOwner::None | PidOwner::Foreign(_) => None,
        }
    }

    /// The machine's live processes.
    pub(crate) fn processes(&self) -> Vec<LiveProcess> {
        let files = DRIVERS.into_iter().chain([AGENT]);
        files
            .filter_map(|file| LiveProcess::of(self.pid(file)?))
            .collect()
    }

    /// Foreign processes that Lima takes for the machine's, after a crash.
    pub(crate) fn foreign_processes(&self) -> Vec<ForeignProcess> {
        let files = DRIVERS.into_iter().chain([AGENT]);
        let owners = files.map(|file| pids::owner(&self.path, file));
        let foreign_processes = owners.filter_map(|owner| match owner {
            PidOwner::Foreign(foreign) => Some(foreign),
            PidOwner::None | PidOwner::Machine(_) => None,
        });
        foreign_processes.collect()
    }

    /// Deletes pid files of foreign processes, which Lima would kill with the machine.
    ///
    /// # Errors
    /// `Io`; then the machine must not be stopped by force.
    pub(crate) fn delete_foreign_pid_files(&self) -> Result<()> {
        for foreign in self.foreign_processes() {
            tracing::warn!(%foreign, "the machine has crashed; deleting its pid file");
            fs::remove_file(&foreign.file).map_err(|error| {
                let hint = format!("delete that file: {foreign}");
                let message = format!("cannot delete {}", foreign.file.display());
                Error::io(message, error).with_hint(hint)
            })?;
        }
        Ok(())
    }

    pub(crate) fn is_protected(&self) -> bool {
        self.file(PROTECTED).symlink_metadata().is_ok()
    }

    /// Path of the disk, with links resolved.
    ///
    /// # Errors
    /// `Engine` without a disk; `Unsupported` for one outside of the directory, which must not be replaced.
    pub(crate) fn disk(&self) -> Result<PathBuf> {
        let failed = |error: io::Error| {
            let message = format!("{} has no disk", self.path.display());
            Error::new(ErrorKind::Engine, message)
                .caused_by(error)
                .with_hint("it was never started, or is incomplete: see `limactl list`")
        };
        let names = ["disk", "diffdisk"].map(|name| self.file(name));
        let found = names.iter().find(|path| path.symlink_metadata().is_ok());
        let found = found.unwrap_or(&names[0]).canonicalize().map_err(failed)?;
        let here = self.path.canonicalize().map_err(failed)?;
        if found.parent() == Some(&here) {
            return Ok(found);
        }
        let message = format!(
            "the disk {} is outside of its machine's directory",
            found.display()
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

/// Rejects a name that makes the paths of sockets too long.
///
/// # Errors
/// `InvalidName` with the longest possible length.
pub(crate) fn ensure_short(home: &Path, name: &InstanceName) -> Result<()> {
    let base = home.as_os_str().len() + 1 + MAX_SOCKET_NAME;
    if base + name.as_str().len() <= MAX_SOCKET_PATH {
        return Ok(());
    }
    let room = MAX_SOCKET_PATH.saturating_sub(base);
    let message = format!(
        "`{name}` is too long: machine names below {} are limited to {room} characters",
        home.display()
    );
    Err(Error::new(ErrorKind::InvalidName, message)
        .with_hint("choose a shorter name, or set LIMA_HOME to a shorter path"))
}

/// Error if even the names of drafts are too long.
pub(crate) fn home_too_long(home: &Path) -> Error {
    let message = format!(
        "the path {} is too long for the sockets of machines",
        home.display()
    );
    Error::new(ErrorKind::InvalidName, message).with_hint("set LIMA_HOME to a shorter path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, Directory) {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "web-dev".parse().unwrap();
        fs::create_dir(home.path().join("web-dev")).unwrap();
        let directory = Directory::new(home.path(), &name);
        fs::write(directory.file(YAML), "cpus: 1\n").unwrap();
        (home, directory)
    }

    #[test]
    fn ignores_stale_pids() {
        let (_home, directory) = machine();
        assert_eq!(directory.status(), EnvStatus::Stopped);
        // Beyond the largest possible pid.
        fs::write(directory.file("ha.pid"), "2147483646\n").unwrap();
        assert_eq!(directory.status(), EnvStatus::Stopped);
        let me = std::process::id().to_string();
        fs::write(directory.file("ha.pid"), &me).unwrap();
        assert_eq!(
            directory.status(),
            EnvStatus::Running,
            "waiting for its driver"
        );
        fs::write(directory.file("qemu.pid"), &me).unwrap();
        assert_eq!(directory.status(), EnvStatus::Running);
        fs::remove_file(directory.file("ha.pid")).unwrap();
        assert_eq!(directory.status(), EnvStatus::Error, "without its agent");
        assert!(directory.is_alive());
    }

    #[test]
    fn lists_only_machines() {
        let (home, _directory) = machine();
        for other in ["_config", ".lxc-dev-manager", "empty"] {
            fs::create_dir(home.path().join(other)).unwrap();
        }
        let all = Directory::all(home.path()).unwrap();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["web-dev"]);
        assert!(
            Directory::all(&home.path().join("none"))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn record_identifies_partially_deleted_machine() {
        let (_home, directory) = machine();
        fs::remove_file(directory.file(YAML)).unwrap();
        assert!(directory.is_partial() && !directory.exists());
        fs::write(directory.file(record::FILE), "{}").unwrap();
        assert!(directory.exists() && !directory.is_complete() && !directory.is_partial());
        assert_eq!(directory.status(), EnvStatus::Error);
    }

    #[test]
    fn rejects_disk_outside_of_machine() {
        let (home, directory) = machine();
        assert!(directory.disk().is_err());
        fs::write(directory.file("diffdisk"), "").unwrap();
        std::os::unix::fs::symlink("diffdisk", directory.file("disk")).unwrap();
        assert!(directory.disk().unwrap().ends_with("web-dev/diffdisk"));
        fs::remove_file(directory.file("disk")).unwrap();
        fs::write(home.path().join("foreign"), "").unwrap();
        std::os::unix::fs::symlink("../foreign", directory.file("disk")).unwrap();
        assert_eq!(directory.disk().unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn rejects_long_names() {
        let name: InstanceName = "a".repeat(40).parse().unwrap();
        assert!(ensure_short(Path::new("/home/u/.lima"), &name).is_ok());
        let deep = PathBuf::from(format!("/{}", "d".repeat(60)));
        let error = ensure_short(&deep, &name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
        assert!(error.report().message.contains("limited to"));
    }
}
