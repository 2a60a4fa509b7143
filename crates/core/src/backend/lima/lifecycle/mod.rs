//! Creating, starting, stopping, renaming, copying and deleting machines.
//!
//! A machine gets its name only when it is complete ([`drafts`]). Foreign machines of the same name are never touched.
//! A machine whose deletion Lima has not finished is deleted if it still has our record.

pub(crate) mod drafts;
pub(crate) mod leftovers;
pub(crate) mod scripts;

use crate::backend::Instances;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::backend::Lima;
use super::blocking::blocking;
use super::copy::{copy, ensure_room, sync_directory};
use super::draft_name::is_draft;
use super::errors::not_found;
use super::limactl::{self, Call};
use super::machine::directory::{self, Directory};
use super::machine::record::{self, Record};
use super::machine::{agent_log, pids, settings};
use super::snapshots::restore::RESTORING_SUFFIX;
use super::snapshots::{EFI, Snapshots, while_stopped};
use crate::backend::{CloneSpec, Progress, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::home::create_private_directory;
use crate::model::{EnvStatus, InstanceName, OperationId};
use drafts::{Draft, longest_draft};

/// Longer than Lima's own timeout (10 minutes).
const START_TIMEOUT: Duration = Duration::from_secs(720);
/// The qemu driver waits three minutes for the guest to shut down.
const STOP_TIMEOUT: Duration = Duration::from_secs(210);
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(60);
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Lima's message if a host agent is already running.
const ALREADY_RUNNING: &str = "seems running (hint:";
/// Attempts to start a machine whose SSH port is in use.
const MAX_START_ATTEMPTS: usize = 3;
const NEW_IDENTITY: &str = include_str!("new_identity.sh");
/// Reports the template's scripts that failed in this boot.
const PROVISIONED: &str = include_str!("provisioned.sh");
/// Prints mount points without a mount.
const MOUNTED: &str = include_str!("mounted.sh");
/// Prints the guest's address on the host's network.
const ADDRESS: &str = include_str!("address.sh");
/// Exit code of [`PROVISIONED`] if a script failed.
const SCRIPT_FAILED: i32 = 3;
/// Files that are not copied: those of a boot, of Lima's protection, and of the machine's identity.
const NOT_COPIED: [&str; 8] = [
    "protected",
    "swtpm",
    "sock",
    "ssh.config",
    "cidata",
    "cidata.iso",
    "cloud-config.yaml",
    record::FILE,
];

impl Lima {
    /// Rejects a name that is in use or too long.
    pub(crate) fn ensure_free(&self, name: &InstanceName) -> Result<()> {
        let home = self.limactl.home();
        // It is created as a draft, and removed to the name of an undo copy.
        let internal_names = [longest_draft()?, InstanceName::undo(&OperationId::random())];
        if internal_names
            .iter()
            .any(|name| directory::ensure_short(home, name).is_err())
        {
            return Err(directory::home_too_long(home));
        }
        directory::ensure_short(home, name)?;
        let machine = self.directory(name);
        self.ensure_not_partial(&machine)?;
        match machine.path().symlink_metadata() {
            Ok(_) => Err(name_taken(machine.path(), name)),
            Err(_) => Ok(()),
        }
    }

    /// Rejects a directory that is no machine: an unfinished creation or deletion of Lima.
    pub(crate) fn ensure_not_partial(&self, machine: &Directory) -> Result<()> {
        if machine.is_partial() {
            Err(partial(machine))
        } else {
            Ok(())
        }
    }

    /// Starts a machine and waits until commands can run in it.
    pub(crate) async fn start_machine(&self, name: &InstanceName) -> Result<()> {
        let machine = self.existing(name)?;
        if !machine.is_complete() {
            return Err(incomplete(name));
        }
        match machine.status() {
            EnvStatus::Running => {
                let message = format!("`{name}` is already running");
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            // One of its processes was killed: stopping by force is the only repair.
            EnvStatus::Error => self.kill(name).await?,
            _ => {}
        }
        // Lima would take the machine for running, and refuse to start it.
        machine.delete_foreign_pid_files()?;
        if let Some(record) = Record::read(&machine, name)? {
            self.snapshots(&record).finish_restore(&machine)?;
        }
        let mut attempts = 1;
        loop {
            let before = agent_log::LogId::of(&machine);
            let call = Call::change(&["start"], name, START_TIMEOUT);
            let Err(error) = self.limactl.succeed(&call).await else {
                break;
            };
            if error.report().message.contains(ALREADY_RUNNING) {
                let message = format!("another process is starting `{name}`");
                return Err(Error::new(ErrorKind::Conflict, message).caused_by(error));
            }
            // After a timeout Lima leaves the machine running.
            if machine.is_alive()
                && let Err(also) = self.kill(name).await
            {
                let reason = also.report().message;
                return Err(error.with_hint(format!("`{name}` is still running: {reason}")));
            }
            let log = agent_log::new_tail(&machine, &before).unwrap_or_default();
            if attempts < MAX_START_ATTEMPTS && agent_log::is_port_conflict(&log) {
                tracing::info!(%name, "the SSH port is in use: starting again");
                attempts += 1;
                continue;
            }
            // A hint that names a remedy is better than the log.
            let is_helpful = error.hint().is_some() && error.kind() != ErrorKind::Timeout;
            return Err(match agent_log::reason(&log).filter(|_| !is_helpful) {
                Some(line) => error.with_hint(format!("log: {line}")),
                None => error,
            });
        }
        // Finishing a restore may have changed it.
        let record = Record::read(&machine, name)?;
        self.finish_start(name, &machine, record).await
    }

    /// Completes the start in the guest: checks scripts and mounts, sets the machine id, reads the address.
    async fn finish_start(
        &self,
        name: &InstanceName,
        machine: &Directory,
        record: Option<Record>,
    ) -> Result<()> {
        let yaml = machine.text(directory::YAML)?.unwrap_or_default();
        if scripts::can_fail(&yaml) {
            let source = if scripts::all_wrapped(&yaml) {
                "notes"
            } else {
                "words"
            };
            let output = run_script(self, name, PROVISIONED, &[source], Vec::new()).await?;
            if output.code == SCRIPT_FAILED {
                let printed = String::from_utf8_lossy(&output.stdout);
                return Err(scripts::failure(name.as_str(), &printed));
            }
        }
        let Some(mut record) = record else {
            return self.ensure_mounted(name, &yaml).await;
        };
        let before = (record.has_source_id, record.address);
        if record.has_source_id {
            let output = run_script(self, name, NEW_IDENTITY, &[], Vec::new()).await?;
            if output.code != 0 {
                let reason = output.last_line();
                let message = format!("cannot set the machine id of `{name}`: {reason}");
                return Err(Error::new(ErrorKind::Guest, message));
            }
            record.has_source_id = false;
        }
        if settings::has_own_address(&yaml) {
            let output = run_script(self, name, ADDRESS, &[], Vec::new()).await?;
            let address = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
            let boot = machine.boot().map(|(agent, _)| agent);
            record.address = boot.zip(address);
        }
        if before != (record.has_source_id, record.address) {
            record.write(machine)?;
        }
        // Last, because the machine stays running if this fails.
        self.ensure_mounted(name, &yaml).await
    }

    /// Checks that all mounts exist: Lima doesn't, and writes would go to the guest's own disk.
    async fn ensure_mounted(&self, name: &InstanceName, yaml: &str) -> Result<()> {
        let mount_points = settings::mount_points(yaml);
        if mount_points.is_empty() {
            return Ok(());
        }
        let arguments: Vec<&str> = mount_points.iter().map(String::as_str).collect();
        let output = run_script(self, name, MOUNTED, &arguments, Vec::new()).await?;
        let missing = String::from_utf8_lossy(&output.stdout);
        match missing.lines().next() {
            None => Ok(()),
            Some(mount_point) => {
                let message =
                    format!("`{mount_point}` is not mounted in `{name}`, which is running");
                let hint = "its kernel may lack Lima's mount type: set `mountType: reverse-sshfs` in the template, \
                                then recreate the env";
                Err(Error::new(ErrorKind::Guest, message).with_hint(hint))
            }
        }
    }

    pub(crate) async fn stop_machine(&self, name: &InstanceName, force: bool) -> Result<()> {
        let machine = self.existing(name)?;
        if machine.status() == EnvStatus::Stopped {
            let message = format!("`{name}` is already stopped");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        if force || machine.status() == EnvStatus::Error {
            return self.kill(name).await;
        }
        let call = Call::change(&["stop"], name, STOP_TIMEOUT);
        self.limactl.succeed(&call).await.map(drop)
    }

    async fn kill(&self, name: &InstanceName) -> Result<()> {
        let machine = self.directory(name);
        machine.delete_foreign_pid_files()?;
        let running = machine.processes();
        let call = Call::change(&["stop", "-f"], name, KILL_TIMEOUT);
        self.limactl.succeed(&call).await?;
        // Lima finds no processes of a machine with unreadable settings.
        pids::kill_all(running, EXIT_TIMEOUT).await
    }

    /// Deletes a stopped machine and its snapshots.
    pub(crate) async fn delete_machine(&self, name: &InstanceName) -> Result<()> {
        self.sweep().await;
        let machine = self.existing(name)?;
        ensure_stopped(&machine, name)?;
        if machine.is_protected() {
            let message = format!("`{name}` is protected");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("`limactl unprotect {name}` first")));
        }
        // With an unreadable record its snapshots are unknown, and stay.
        let record = Record::read(&machine, name).unwrap_or_default();
        if machine.is_complete() {
            machine.delete_foreign_pid_files()?;
            // Forced, because Lima takes a machine with unreadable settings for running.
            let call = Call::change(&["delete", "-f"], name, KILL_TIMEOUT);
            let output = self.limactl.run(&call).await?;
            if machine.is_complete() {
                return Err(limactl::failure(&output));
            }
        } else if record.is_none() {
            return Err(partial(&machine));
        }
        let snapshots = record.map(|record| self.snapshots(&record));
        blocking(move || {
            // Deletes what Lima has left.
            match fs::remove_dir_all(machine.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let message = format!("cannot delete {}", machine.path().display());
                    return Err(Error::io(message, error));
                }
                _ => {}
            }
            snapshots.map_or(Ok(()), |snapshots| snapshots.delete_all())
        })
        .await
    }

    /// Renames a stopped machine, which is its directory.
    pub(crate) fn rename_machine(&self, name: &InstanceName, new: &InstanceName) -> Result<()> {
        let machine = self.existing(name)?;
        ensure_stopped(&machine, name)?;
        self.ensure_free(new)?;
        let record = Record::read(&machine, name)?;
        let target = self.directory(new);
        let Some(mut record) = record else {
            return rename_to_final(machine.path(), target.path());
        };
        record.rename(Some(name), new);
        record.write(&machine)?;
        rename_to_final(machine.path(), target.path())?;
        record.rename(None, new);
        record.write(&target)
    }

    /// Copies a machine. Blocking.
    pub(crate) fn copy_machine(&self, spec: &CloneSpec, progress: &Progress) -> Result<()> {
        let source = self.existing(&spec.source)?;
        let source_record = Record::read(&source, &spec.source)?;
        let disk = match &spec.snapshot {
            Some(snapshot) => {
                let record = source_record
                    .as_ref()
                    .ok_or_else(|| no_snapshot(&spec.source, snapshot))?;
                self.snapshots(record).disk(snapshot)?
            }
            None => {
                ensure_stopped(&source, &spec.source)?;
                if let Some(record) = &source_record {
                    self.snapshots(record).finish_restore(&source)?;
                }
                source.disk()?
            }
        };
        self.ensure_free(&spec.name)?;
        ensure_room(self.limactl.home(), &[&disk])?;
        let draft = Draft::new(&self.state_dir())?;
        let copy_path = draft.path.with_extension("d");
        let assembled = || assemble(&source, &disk, &copy_path, progress);
        let assembled = match &spec.snapshot {
            Some(_) => assembled(),
            None => while_stopped(&source, assembled),
        };
        let created = assembled.and_then(|()| {
            let mut record = Record::new(&spec.name);
            record.set_marks(&spec.marks);
            if let Some(source) = &source_record {
                record.inherit(source);
            }
            record.write_at(&copy_path.join(record::FILE))?;
            rename_to_final(&copy_path, self.directory(&spec.name).path())
        });
        if created.is_err() {
            let _ = fs::remove_dir_all(&copy_path);
        }
        created
    }

    /// Returns the directory of an existing machine.
    pub(crate) fn existing(&self, name: &InstanceName) -> Result<Directory> {
        let machine = self.directory(name);
        if machine.exists() && !is_draft(name) {
            Ok(machine)
        } else {
            Err(not_found(name))
        }
    }

    /// Returns the snapshots of a machine.
    pub(crate) fn snapshots(&self, record: &Record) -> Snapshots {
        Snapshots::new(&self.state_dir(), record.id).with_source_id(record.has_source_id)
    }

    /// Runs `work` in a machine, which is started first and stopped afterwards if it is not running.
    pub(crate) async fn with_running<T>(
        &self,
        name: &InstanceName,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let runs = self.existing(name)?.status() != EnvStatus::Stopped;
        if runs {
            return work.await;
        }
        if let Err(error) = self.start(name).await {
            // The start may fail with the machine running.
            if self.directory(name).is_alive()
                && let Err(also) = self.stop(name, false).await
            {
                tracing::warn!(?also, %name, "a machine that was started to access a file is still running");
            }
            return Err(error);
        }
        let done = work.await;
        self.stop(name, false).await?;
        done
    }
}

/// Assembles a copy from this disk and the source's other files, except those of its boots.
fn assemble(source: &Directory, disk: &Path, copy_path: &Path, progress: &Progress) -> Result<()> {
    create_private_directory(copy_path)?;
    let own = source.disk()?;
    // A snapshot has its own firmware state.
    let firmware = disk.with_file_name(EFI);
    let failed = |error| Error::io(format!("cannot copy {}", source.path().display()), error);
    for entry in fs::read_dir(source.path()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (from, name) = (entry.path(), entry.file_name());
        let to = copy_path.join(&name);
        let kind = entry.file_type().map_err(failed)?;
        if is_not_copied(&name.to_string_lossy()) || kind.is_dir() {
            continue;
        }
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(failed)?;
            std::os::unix::fs::symlink(target, &to).map_err(failed)?;
        } else if name == "vz-identifier" {
            // Marks the vz driver; Lima creates a new identifier if it is empty.
            File::create(&to).map_err(failed)?;
        } else if from.file_name() == own.file_name() {
            copy(disk, &to, progress)?;
        } else if name == EFI && firmware.is_file() {
            copy(&firmware, &to, &Progress::none())?;
        } else if kind.is_file() {
            copy(&from, &to, &Progress::none())?;
        }
    }
    sync_directory(copy_path)
}

fn is_not_copied(name: &str) -> bool {
    let ends = [".pid", ".sock", ".tmp", ".log", RESTORING_SUFFIX];
    NOT_COPIED.contains(&name) || ends.iter().any(|end| name.ends_with(end))
}

/// Moves a complete machine to its name, unless that is in use.
pub(crate) fn rename_to_final(from: &Path, to: &Path) -> Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|error| {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        match error {
            rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY => {
                let message = format!("Lima machine `{name}` already exists");
                Error::new(ErrorKind::AlreadyExists, message)
            }
            error => Error::io(format!("cannot create the machine `{name}`"), error.into()),
        }
    })?;
    sync_directory(to.parent().unwrap_or(Path::new("/")))
}

pub(crate) fn ensure_stopped(machine: &Directory, name: &InstanceName) -> Result<()> {
    if machine.is_alive() {
        Err(Error::new(
            ErrorKind::Conflict,
            format!("`{name}` is running"),
        ))
    } else {
        Ok(())
    }
}

fn partial(machine: &Directory) -> Error {
    let path = machine.path().display();
    let message = format!("{path} has no lima.yaml and was not created by lxc-dev-manager");
    let hint =
        format!("Lima may have left it behind: if no `limactl` is running, run `rm -r {path}`");
    Error::new(ErrorKind::NotOurs, message).with_hint(hint)
}

/// Error for a machine that Lima has partially deleted.
fn incomplete(name: &InstanceName) -> Error {
    let message = format!("`{name}` is incomplete: its lima.yaml is missing");
    Error::new(ErrorKind::Engine, message).with_hint("remove the env, then create it again")
}

fn name_taken(path: &Path, name: &InstanceName) -> Error {
    let message = format!("Lima machine `{name}` already exists");
    let hint = format!("choose another name, or delete {}", path.display());
    Error::new(ErrorKind::AlreadyExists, message).with_hint(hint)
}

fn no_snapshot(name: &InstanceName, snapshot: &crate::model::SnapshotName) -> Error {
    let message = format!("`{name}` has no snapshot `{snapshot}`");
    Error::new(ErrorKind::NotFound, message)
}
