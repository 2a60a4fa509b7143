//! A machine's directory below `LIMA_HOME`: what is in it, and what its files tell of its state.
//!
//! Lima keeps `lima.yaml` there, the disk (`disk`, or a link to `diffdisk` in older ones), and while the
//! machine runs `ha.pid` and the driver's `vz.pid` or `qemu.pid`. A pid file may be stale, so a pid
//! counts while it is the machine's ([`pids`]). Names that begin with a dot or `_` are no machines.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::process::Pid;

use crate::backend::lima::machine::pids::{self, AGENT, DRIVERS, Holder, Living, Stranger};
use crate::backend::lima::machine::record;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName};

/// The machine's settings.
pub(crate) const YAML: &str = "lima.yaml";
/// Kept while a machine must not be deleted.
const PROTECTED: &str = "protected";
/// The agent comes before its driver: Lima itself calls that broken, for half a second.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest file of Lima's that is read whole.
const TEXT_LIMIT: u64 = 1 << 20;
/// The longest name of a socket in a machine's directory: ssh's, while it is made.
const LONGEST_SOCKET: usize = "/ssh.sock.1234567890123456".len();
/// What a path of a socket may have, its end not counted.
const SOCKET_LIMIT: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// How disks begin that are neither raw nor qcow2: Apple's sparse images, VMware's and Microsoft's.
const OTHER_FORMATS: [&[u8]; 3] = [b"shdw", b"KDMV", b"vhdxfile"];
/// The longest of those.
const MAGIC: usize = 8;

/// The directory of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Where a machine of this name is, if it is.
    pub(crate) fn new(home: &Path, name: &InstanceName) -> Self {
        Self {
            path: home.join(name.as_str()),
        }
    }

    /// All that there are, by name; those whose names aren't ours to read are left out.
    ///
    /// # Errors
    /// `Io` where `LIMA_HOME` is there and can't be read.
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

    /// What the machine is called.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is a machine, whole or not: what Lima has deleted by half may have our record still.
    pub(crate) fn exists(&self) -> bool {
        self.is_whole() || self.file(record::FILE).symlink_metadata().is_ok()
    }

    /// Whether Lima has anything to do with it.
    pub(crate) fn is_whole(&self) -> bool {
        self.file(YAML).symlink_metadata().is_ok()
    }

    /// Whether there is something in its place that is no machine.
    pub(crate) fn is_rubble(&self) -> bool {
        self.path.symlink_metadata().is_ok() && !self.exists()
    }

    /// Text of a file; a missing one is `None`.
    ///
    /// # Errors
    /// `Io`; `Config` for what is no text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        use io::Read;
        let path = self.file(name);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        };
        let mut text = String::new();
        let read = file.take(TEXT_LIMIT + 1).read_to_string(&mut text);
        let read = read.and_then(|length| match length as u64 > TEXT_LIMIT {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(()),
        });
        read.map_err(|error| {
            let message = format!("{} can't be read", path.display());
            Error::new(ErrorKind::Config, message).caused_by(error)
        })?;
        Ok(Some(text))
    }

    /// What it does.
    pub(crate) fn status(&self) -> EnvStatus {
        let agent = self.pid(AGENT).is_some();
        let driver = DRIVERS.iter().any(|file| self.pid(file).is_some());
        match (agent, driver) {
            (true, true) => EnvStatus::Running,
            (false, false) if self.is_whole() => EnvStatus::Stopped,
            (true, false) if self.is_young() => EnvStatus::Running,
            _ => EnvStatus::Error,
        }
    }

    /// Whether the disk's file is complete once its guest has flushed what it wrote: a raw one, and qcow2, whose tables qemu
    /// writes with each flush. Of the other formats nobody says so.
    pub(crate) fn is_complete_when_flushed(&self) -> bool {
        use io::Read;
        let mut begin = [0; MAGIC];
        let disk = self.disk().and_then(|path| {
            let read = fs::File::open(&path).and_then(|mut file| file.read_exact(&mut begin));
            read.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
        });
        disk.is_ok() && !OTHER_FORMATS.iter().any(|format| begin.starts_with(format))
    }

    /// When its disk was written last, and how long it is.
    pub(crate) fn disk_written(&self) -> Result<(SystemTime, u64)> {
        let disk = self.disk()?;
        let found = fs::metadata(&disk).and_then(|found| Ok((found.modified()?, found.len())));
        found.map_err(|error| Error::io(format!("cannot look at {}", disk.display()), error))
    }

    /// Whether any process of it lives.
    pub(crate) fn is_alive(&self) -> bool {
        let mut files = DRIVERS.into_iter().chain([AGENT]);
        files.any(|file| self.pid(file).is_some())
    }

    /// The agent of this boot: who it is, and since when. Another boot has another one.
    pub(crate) fn boot(&self) -> Option<(u32, Option<Timestamp>)> {
        let pid = self.pid(AGENT)?;
        let written = fs::metadata(self.file(AGENT)).and_then(|found| found.modified());
        let since = written.ok().and_then(|time| Timestamp::try_from(time).ok());
        Some((pid.as_raw_nonzero().get().unsigned_abs(), since))
    }

    /// Whether a file was written in this boot: what is older is of the one before.
    pub(crate) fn is_of_this_boot(&self, file: &str) -> bool {
        let written = |name| fs::metadata(self.file(name)).and_then(|found| found.modified());
        let (file, agent) = (written(file), written(AGENT));
        file.and_then(|file| Ok(file >= agent?)).unwrap_or(false)
    }

    fn is_young(&self) -> bool {
        let written = fs::metadata(self.file(AGENT)).and_then(|found| found.modified());
        let age = written.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        age.is_ok_and(|age| age < DRIVER_TIMEOUT)
    }

    /// The process of the machine that a pid file names, while it lives.
    fn pid(&self, file: &str) -> Option<Pid> {
        match pids::holder(&self.path, file) {
            Holder::Machine(pid) => Some(pid),
            Holder::Nobody | Holder::Stranger(_) => None,
        }
    }

    /// The machine's processes that live.
    pub(crate) fn processes(&self) -> Vec<Living> {
        let files = DRIVERS.into_iter().chain([AGENT]);
        files
            .filter_map(|file| Living::of(self.pid(file)?))
            .collect()
    }

    /// Processes that Lima takes for the machine's, and that aren't: it was stopped by a crash.
    pub(crate) fn strangers(&self) -> Vec<Stranger> {
        let files = DRIVERS.into_iter().chain([AGENT]);
        let holders = files.map(|file| pids::holder(&self.path, file));
        let strangers = holders.filter_map(|holder| match holder {
            Holder::Stranger(stranger) => Some(stranger),
            Holder::Nobody | Holder::Machine(_) => None,
        });
        strangers.collect()
    }

    /// Deletes pid files that name strangers, as Lima does with those that name nobody: else it would hold them
    /// for the machine, and kill them with it.
    ///
    /// # Errors
    /// `Io`: nothing may be done then that kills.
    pub(crate) fn forget_strangers(&self) -> Result<()> {
        for stranger in self.strangers() {
            tracing::warn!(%stranger, "the machine was stopped by a crash; the file is deleted");
            fs::remove_file(&stranger.file).map_err(|error| {
                let hint = format!("{stranger}; delete that file");
                let message = format!("cannot delete {}", stranger.file.display());
                Error::io(message, error).with_hint(hint)
            })?;
        }
        Ok(())
    }

    pub(crate) fn is_protected(&self) -> bool {
        self.file(PROTECTED).symlink_metadata().is_ok()
    }

    /// The disk itself, with links followed.
    ///
    /// # Errors
    /// `Engine` where there is none, or where it lies elsewhere: what isn't the machine's own file isn't
    /// ours to replace.
    pub(crate) fn disk(&self) -> Result<PathBuf> {
        let failed = |error: io::Error| {
            let message = format!("{} has no disk", self.path.display());
            Error::new(ErrorKind::Engine, message)
                .caused_by(error)
                .with_hint("it was never started, or isn't whole: see `limactl list`")
        };
        let names = ["disk", "diffdisk"].map(|name| self.file(name));
        let found = names.iter().find(|path| path.symlink_metadata().is_ok());
        let found = found.unwrap_or(&names[0]).canonicalize().map_err(failed)?;
        let here = self.path.canonicalize().map_err(failed)?;
        if found.parent() == Some(&here) {
            return Ok(found);
        }
        let message = format!("the disk {} lies outside of its machine", found.display());
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

/// Refuses a name that would make paths of sockets too long.
///
/// # Errors
/// `InvalidName` with how many characters there may be.
pub(crate) fn expect_short(home: &Path, name: &InstanceName) -> Result<()> {
    let base = home.as_os_str().len() + 1 + LONGEST_SOCKET;
    if base + name.as_str().len() <= SOCKET_LIMIT {
        return Ok(());
    }
    let room = SOCKET_LIMIT.saturating_sub(base);
    let message = format!(
        "`{name}` is too long: below {} a machine's name may have {room} characters",
        home.display()
    );
    Err(Error::new(ErrorKind::InvalidName, message)
        .with_hint("choose a shorter name, or set LIMA_HOME to a shorter path"))
}

/// What to say where the names that we choose ourselves would be too long.
pub(crate) fn too_deep(home: &Path) -> Error {
    let message = format!(
        "{} is too long a path for the sockets of machines",
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
    fn a_stale_pid_counts_for_nothing() {
        let (_home, directory) = machine();
        assert_eq!(directory.status(), EnvStatus::Stopped);
        // No system gives out such a number.
        fs::write(directory.file("ha.pid"), "2147483646\n").unwrap();
        assert_eq!(directory.status(), EnvStatus::Stopped);
        let me = std::process::id().to_string();
        fs::write(directory.file("ha.pid"), &me).unwrap();
        assert_eq!(directory.status(), EnvStatus::Running, "its driver comes");
        fs::write(directory.file("qemu.pid"), &me).unwrap();
        assert_eq!(directory.status(), EnvStatus::Running);
        fs::remove_file(directory.file("ha.pid")).unwrap();
        assert_eq!(directory.status(), EnvStatus::Error, "without its agent");
        assert!(directory.is_alive());
    }

    #[test]
    fn only_machines_are_listed() {
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
    fn what_lima_has_deleted_by_half_is_known_by_our_record() {
        let (_home, directory) = machine();
        fs::remove_file(directory.file(YAML)).unwrap();
        assert!(directory.is_rubble() && !directory.exists());
        fs::write(directory.file(record::FILE), "{}").unwrap();
        assert!(directory.exists() && !directory.is_whole() && !directory.is_rubble());
        assert_eq!(directory.status(), EnvStatus::Error);
    }

    #[test]
    fn a_disk_is_a_file_of_its_machine() {
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
    fn long_names_are_refused_before_anything_is_made() {
        let name: InstanceName = "a".repeat(40).parse().unwrap();
        assert!(expect_short(Path::new("/home/u/.lima"), &name).is_ok());
        let deep = PathBuf::from(format!("/{}", "d".repeat(60)));
        let error = expect_short(&deep, &name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName);
        assert!(error.report().message.contains("may have"));
    }
}
