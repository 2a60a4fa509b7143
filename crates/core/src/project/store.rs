//! The file on disk: find, read, and write it under the project's lock.

use std::fs::{self, File as OsFile};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::change::Change;
use super::disk::{backup_path, ensure_writable, read, write};
use super::edit;
use super::plain_or_quoted;
use super::schema::{File, default_ports};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, GuestPort, InstanceName, ProjectName};
use crate::view::EnvRef;

/// The file in a project's directory.
pub const FILE_NAME: &str = "containers.yaml";

/// Longest wait for the lock of a project, which is held for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A project and its parsed file.
#[derive(Debug, Clone)]
pub struct Project {
    directory: PathBuf,
    file: File,
}

/// The nearest directory, from `start` upwards, with a `containers.yaml`, even an unusable one: it
/// must not be skipped for another project's.
///
/// # Errors
/// `NotFound` with the command to create one.
pub fn find_directory(start: &Path) -> Result<PathBuf> {
    let found = start
        .ancestors()
        .find(|directory| fs::symlink_metadata(directory.join(FILE_NAME)).is_ok());
    found.map(Path::to_path_buf).ok_or_else(|| {
        let message = format!("no {FILE_NAME} in {} or above it", start.display());
        Error::new(ErrorKind::NotFound, message)
            .with_hint("create a project here: `lxc-dev-manager create`")
    })
}

/// Creates a `containers.yaml`. Without `ports` it contains the default ports, for easy editing.
///
/// # Errors
/// `AlreadyExists` if there is one, `Io` if it cannot be written.
pub fn create_file(
    directory: &Path,
    name: &ProjectName,
    ports: Option<&[GuestPort]>,
) -> Result<Project> {
    let path = directory.join(FILE_NAME);
    let ports = ports.map_or_else(default_ports, <[GuestPort]>::to_vec);
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let mut text = format!("project: {}\n", plain_or_quoted(name.as_str()));
    text.push_str(&format!("defaults:\n  ports: [{}]\n", ports.join(", ")));
    text.push_str("containers:\n");
    let options = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&path);
    match options.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes())) {
        Ok(()) => Project::open(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("{} is already a project", directory.display());
            Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint("show its envs: `lxc-dev-manager list`"))
        }
        Err(error) => Err(Error::io(format!("cannot write {}", path.display()), error)),
    }
}

impl Project {
    /// Reads the project in a directory.
    ///
    /// # Errors
    /// `NotFound` without a file, `Config` for an invalid one.
    pub fn open(directory: &Path) -> Result<Self> {
        let directory = directory.canonicalize().map_err(|error| {
            Error::new(
                ErrorKind::NotFound,
                format!("the directory {} does not exist", directory.display()),
            )
            .caused_by(error)
        })?;
        let path = directory.join(FILE_NAME);
        let text = read(&path)?;
        let file = File::parse(&text).map_err(|error| {
            let backup = backup_path(&path);
            let error = error.context(format!("cannot use {}", path.display()));
            if backup.exists() {
                // A writer was killed.
                let hint = format!("the text before the last change is in {}", backup.display());
                return error.with_hint(hint);
            }
            error
        })?;
        Ok(Self { directory, file })
    }

    /// Reads the project again: a file read before taking a lock may be stale.
    ///
    /// # Errors
    /// Those of [`Project::open`].
    pub fn reopen(&self) -> Result<Self> {
        Self::open(&self.directory)
    }

    /// Its directory, without symbolic links.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The parsed file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its name, if any.
    #[must_use]
    pub fn name(&self) -> Option<ProjectName> {
        self.file.project_name().ok().flatten()
    }

    /// The reference of an env for other processes.
    #[must_use]
    pub fn env_ref(&self, env: &EnvName) -> EnvRef {
        EnvRef {
            project_path: self.directory.display().to_string(),
            env: env.clone(),
        }
    }

    /// The instance of an env.
    ///
    /// # Errors
    /// `InvalidName`.
    pub fn instance(&self, env: &EnvName) -> Result<InstanceName> {
        self.file.instance(env)
    }

    /// Changes the file atomically under the project's lock, and reads it again.
    ///
    /// # Errors
    /// `Config` if a change would lose content, `Io` if the file cannot be written. The file is
    /// unchanged then.
    pub fn change(&mut self, changes: &[Change]) -> Result<()> {
        self.rewrite(|text| apply_all(text, changes))
    }

    /// Checks whether these changes could be written now.
    ///
    /// # Errors
    /// Those of [`Project::change`].
    pub fn check(&self, changes: &[Change]) -> Result<()> {
        let path = self.directory.join(FILE_NAME);
        apply_all(&read(&path)?, changes)?;
        ensure_writable(&path).map(drop)
    }

    pub(super) fn rewrite(&mut self, edit: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        let _lock = self.lock()?;
        let path = self.directory.join(FILE_NAME);
        let text = read(&path)?;
        let changed = edit(&text)?;
        if changed != text {
            write(&path, &changed, self.file.has_writable_mount())?;
        }
        self.file = File::parse(&changed)?;
        Ok(())
    }

    /// The file's current text.
    pub(crate) fn text(&self) -> Result<String> {
        read(&self.directory.join(FILE_NAME))
    }

    /// Restores a removed env: the whole previous text if nothing else has changed, else only its
    /// entry. Does nothing if the env exists.
    pub(crate) fn restore_env(&mut self, env: &EnvName, before: &str) -> Result<()> {
        self.rewrite(|now| {
            if File::parse(now)?.entry(env).is_some() {
                return Ok(now.to_owned());
            }
            let removed = edit::apply(before, &Change::RemoveEnv { env: env.clone() });
            if removed.is_ok_and(|removed| removed == now) {
                return Ok(before.to_owned());
            }
            let before = before.to_owned();
            edit::apply(
                now,
                &Change::RestoreEnv {
                    env: env.clone(),
                    before,
                },
            )
        })
    }

    /// Locks the directory itself: needs no file and works for every user.
    pub(super) fn lock(&self) -> Result<OwnedFd> {
        lock(&self.directory)
    }
}

/// Locks a project's directory, which may have no file yet. Fails after a time: any user who may read the directory
/// can hold the lock, also a guest that has mounted it.
///
/// # Errors
/// `Conflict` with the owner; `Io` if the directory cannot be opened.
pub(super) fn lock(directory: &Path) -> Result<OwnedFd> {
    let display = directory.display();
    let failed =
        |error: io::Error| Error::io(format!("cannot lock the project in {display}"), error);
    let descriptor = OsFile::open(directory).map_err(failed)?;
    let end = Instant::now() + LOCK_TIMEOUT;
    while let Err(error) = flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK && error != Errno::INTR {
            return Err(failed(error.into()));
        }
        if Instant::now() >= end {
            let owner = lock_owner(&descriptor)
                .map_or_else(String::new, |pid| format!(" by process {pid}"));
            let message = format!("the project in {display} is locked{owner}");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("wait for that process, or end it, and try again"));
        }
        wait();
    }
    Ok(descriptor.into())
}

/// Waits a moment, without blocking the tasks of this thread.
fn wait() {
    let sleep = || std::thread::sleep(LOCK_POLL_INTERVAL);
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(sleep),
        _ => sleep(),
    }
}

/// The process that holds a lock, if the system says (`proc_locks(5)`).
fn lock_owner(file: &OsFile) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let owners = locks.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = fields[..] else {
            return None;
        };
        let number = file.rsplit(':').next()?;
        (number.parse() == Ok(inode)).then(|| pid.parse().ok())?
    });
    // A process outside of this one's view has no number.
    { owners }.find(|pid| *pid != 0)
}

fn apply_all(text: &str, changes: &[Change]) -> Result<String> {
    changes
        .iter()
        .try_fold(text.to_owned(), |text, change| edit::apply(&text, change))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::project::NewEnv;

    fn project() -> (tempfile::TempDir, Project) {
        let directory = tempfile::tempdir().unwrap();
        let name = ProjectName::parse("webapp").unwrap();
        let project = create_file(directory.path(), &name, None).unwrap();
        (directory, project)
    }

    fn add(env: &str) -> Change {
        Change::AddEnv(NewEnv::new(env.parse().unwrap(), "x".parse().unwrap()))
    }

    #[test]
    fn rejects_a_second_create() {
        let (directory, _) = project();
        let name = ProjectName::parse("other").unwrap();
        let error = create_file(directory.path(), &name, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(
            Project::open(directory.path())
                .unwrap()
                .name()
                .unwrap()
                .as_str(),
            "webapp"
        );
    }

    #[test]
    fn concurrent_writers_lose_nothing() {
        let (directory, _) = project();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let directory = directory.path();
                scope.spawn(move || {
                    let mut project = Project::open(directory).unwrap();
                    project.change(&[add(&format!("env{number}"))]).unwrap();
                });
            }
        });
        assert_eq!(
            Project::open(directory.path())
                .unwrap()
                .file()
                .env_names()
                .len(),
            8
        );
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "temporary files are left"
        );
    }

    #[test]
    fn write_follows_a_link_and_keeps_the_mode() {
        let (directory, _) = project();
        let real = directory.path().join("real.yaml");
        let path = directory.path().join(FILE_NAME);
        fs::rename(&path, &real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.yaml", &path).unwrap();
        Project::open(directory.path())
            .unwrap()
            .change(&[add("dev")])
            .unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(
            fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert!(fs::read_to_string(&real).unwrap().contains("dev:"));
    }

    #[test]
    fn reads_but_does_not_write_a_read_only_file() {
        let (directory, mut project) = project();
        let path = directory.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let error = project.change(&[add("dev")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(Project::open(directory.path()).is_ok());
    }

    #[test]
    fn unusable_file_hides_projects_above_it() {
        let (directory, _) = project();
        let below = directory.path().join("below");
        fs::create_dir_all(below.join(FILE_NAME)).unwrap();
        assert_eq!(find_directory(&below).unwrap(), below);
        let error = Project::open(&below).unwrap_err();
        assert!(error.to_string().contains("a directory"), "{error}");
        fs::remove_dir(below.join(FILE_NAME)).unwrap();
        assert_eq!(find_directory(&below).unwrap(), directory.path());
    }

    #[test]
    fn incomplete_file_hints_at_the_backup() {
        let (directory, _) = project();
        fs::write(directory.path().join(FILE_NAME), "project: [web").unwrap();
        let backup = directory.path().join(".containers.yaml.before");
        fs::write(&backup, "project: webapp\n").unwrap();
        let error = Project::open(directory.path()).unwrap_err();
        assert!(error.hint().unwrap().contains(".containers.yaml.before"));
    }

    #[test]
    fn quotes_a_numeric_name() {
        let directory = tempfile::tempdir().unwrap();
        let project = create_file(directory.path(), &"2024".parse().unwrap(), None).unwrap();
        assert_eq!(project.name().unwrap().as_str(), "2024");
        assert!(
            fs::read_to_string(directory.path().join(FILE_NAME))
                .unwrap()
                .contains("\"2024\"")
        );
    }
}
