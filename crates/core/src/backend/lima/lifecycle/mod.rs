//! Making, starting, stopping, renaming, copying and deleting machines.
//!
//! A machine appears under its name as a whole ([`drafts`]), and one of the same name that isn't ours is never
//! touched. One that Lima has deleted by half is ours to clear away where our record is still there.
//!
//! [`drafts`]: crate::backend::lima::lifecycle::drafts

pub(crate) mod drafts;
pub(crate) mod leftovers;
pub(crate) mod scripts;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::backend::lima::Lima;
use crate::backend::lima::blocking;
use crate::backend::lima::copy::{copy, expect_room, sync_directory};
use crate::backend::lima::lifecycle::drafts::{Draft, is_draft, longest_draft};
use crate::backend::lima::limactl::{self, Call};
use crate::backend::lima::machine::agent_log;
use crate::backend::lima::machine::directory::{self, Directory};
use crate::backend::lima::machine::pids;
use crate::backend::lima::machine::record::{self, Record};
use crate::backend::lima::machine::settings;
use crate::backend::lima::missing;
use crate::backend::lima::snapshots::restore::SUCCESSOR;
use crate::backend::lima::snapshots::{EFI, Snapshots, make_directory, while_stopped};
use crate::backend::{Backend, CopySpec, Progress, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName, OperationId};

/// Longer than Lima itself waits for a machine (10 minutes).
const START_PATIENCE: Duration = Duration::from_secs(720);
/// A guest is asked to shut down; qemu's driver waits three minutes for it.
const STOP_PATIENCE: Duration = Duration::from_secs(210);
/// Killing one takes no time.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(60);
/// How long a killed process may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// What Lima says where a host agent is there already.
const STARTED_BY_OTHERS: &str = "seems running (hint:";
/// How often a machine is started that loses its port of SSH to somebody.
const TRIES: usize = 3;
/// Gives a copy a machine id of its own.
const NEW_IDENTITY: &str = include_str!("new_identity.sh");
/// Says which of a template's scripts have failed in this boot.
const PROVISIONED: &str = include_str!("provisioned.sh");
/// Prints which directories of the host aren't there.
const MOUNTED: &str = include_str!("mounted.sh");
/// Prints the guest's address on the host's own network.
const ADDRESS: &str = include_str!("address.sh");
/// Exit code of [`PROVISIONED`] where one has.
const NOT_PROVISIONED: i32 = 3;
/// What a copy doesn't take along: what belongs to a boot, to Lima's guard, or to who the machine is.
const LEFT_OUT: [&str; 8] = [
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
    /// Refuses a name that is taken, by whomever, or that is too long.
    pub(crate) fn expect_free(&self, name: &InstanceName) -> Result<()> {
        let home = self.limactl.home();
        // It is made under a name of ours, and kept under one when it is removed.
        let ours = [longest_draft()?, InstanceName::undo(&OperationId::random())];
        if ours
            .iter()
            .any(|name| directory::expect_short(home, name).is_err())
        {
            return Err(directory::too_deep(home));
        }
        directory::expect_short(home, name)?;
        let machine = self.directory(name);
        self.expect_no_rubble(&machine)?;
        match machine.path().symlink_metadata() {
            Ok(_) => Err(taken(machine.path(), name)),
            Err(_) => Ok(()),
        }
    }

    /// Refuses a name that something has which is no machine: what Lima has deleted by half, or never finished.
    pub(crate) fn expect_no_rubble(&self, machine: &Directory) -> Result<()> {
        match machine.is_rubble() {
            true => Err(rubble(machine)),
            false => Ok(()),
        }
    }

    /// Starts a machine, and waits until commands can be run in it.
    pub(crate) async fn start_machine(&self, name: &InstanceName) -> Result<()> {
        let machine = self.existing(name)?;
        if !machine.is_whole() {
            return Err(half(name));
        }
        match machine.status() {
            EnvStatus::Running => {
                let message = format!("`{name}` is already running");
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            // One of its processes was killed: nothing else cures that.
            EnvStatus::Error => self.kill(name).await?,
            _ => {}
        }
        // Lima refuses to start what it holds for running.
        machine.forget_strangers()?;
        if let Some(record) = Record::read(&machine, name)? {
            self.snapshots(&record).finish_restore(&machine)?;
        }
        let mut tries = 1;
        loop {
            let before = agent_log::Which::of(&machine);
            let call = Call::change(&["start"], name, START_PATIENCE);
            let Err(error) = self.limactl.succeed(&call).await else {
                break;
            };
            if error.report().message.contains(STARTED_BY_OTHERS) {
                let message = format!("somebody else is starting `{name}`");
                return Err(Error::new(ErrorKind::Conflict, message).caused_by(error));
            }
            // Lima leaves a machine running that hasn't become ready, and its agent may be about to end.
            if machine.is_alive()
                && let Err(also) = self.kill(name).await
            {
                let told = also.report().message;
                return Err(error.with_hint(format!("it can't be stopped, either: {told}")));
            }
            let log = agent_log::after(&machine, &before).unwrap_or_default();
            if tries < TRIES && agent_log::is_lost_port(&log) {
                tracing::info!(%name, "its port of SSH was taken meanwhile: once more");
                tries += 1;
                continue;
            }
            // One that says what to do is better.
            let is_helpful = error.hint().is_some() && error.kind() != ErrorKind::Timeout;
            return Err(match agent_log::reason(&log).filter(|_| !is_helpful) {
                Some(words) => error.with_hint(format!("its log says: {words}")),
                None => error,
            });
        }
        // What a restore has finished may have changed it.
        let record = Record::read(&machine, name)?;
        self.welcome(name, &machine, record).await
    }

    /// What is to be done in a guest that has just started.
    async fn welcome(
        &self,
        name: &InstanceName,
        machine: &Directory,
        record: Option<Record>,
    ) -> Result<()> {
        let yaml = machine.text(directory::YAML)?.unwrap_or_default();
        if scripts::are_any(&yaml) {
            let by = match scripts::all_note(&yaml) {
                true => "notes",
                false => "words",
            };
            let output = run_script(self, name, PROVISIONED, &[by], Vec::new()).await?;
            if output.code == NOT_PROVISIONED {
                let told = String::from_utf8_lossy(&output.stdout);
                return Err(scripts::failure(name.as_str(), &told));
            }
        }
        let Some(mut record) = record else {
            return self.expect_mounted(name, &yaml).await;
        };
        let before = (record.is_new, record.address);
        if record.is_new {
            let output = run_script(self, name, NEW_IDENTITY, &[], Vec::new()).await?;
            if output.code != 0 {
                let words = output.last_words();
                let message = format!("`{name}` got no machine id of its own: {words}");
                return Err(Error::new(ErrorKind::Guest, message));
            }
            record.is_new = false;
        }
        if settings::has_own_address(&yaml) {
            let output = run_script(self, name, ADDRESS, &[], Vec::new()).await?;
            let address = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
            let boot = machine.boot().map(|(agent, _)| agent);
            record.address = boot.zip(address);
        }
        if before != (record.is_new, record.address) {
            record.write(machine)?;
        }
        // Last: the machine goes on running where that fails.
        self.expect_mounted(name, &yaml).await
    }

    /// Refuses a guest that lacks a directory of the host: Lima doesn't look, and what is written there would be nowhere.
    async fn expect_mounted(&self, name: &InstanceName, yaml: &str) -> Result<()> {
        let places = settings::mounted_at(yaml);
        if places.is_empty() {
            return Ok(());
        }
        let arguments: Vec<&str> = places.iter().map(String::as_str).collect();
        let output = run_script(self, name, MOUNTED, &arguments, Vec::new()).await?;
        let missing = String::from_utf8_lossy(&output.stdout);
        match missing.lines().next() {
            None => Ok(()),
            Some(place) => {
                let message =
                    format!("`{place}` isn't mounted in `{name}`, which runs all the same");
                let hint = "its system may not know Lima's way to it: with `mountType: reverse-sshfs` in the template, and the \
                            env created anew, it goes by SSH";
                Err(Error::new(ErrorKind::Guest, message).with_hint(hint))
            }
        }
    }

    /// Stops a machine.
    pub(crate) async fn stop_machine(&self, name: &InstanceName, force: bool) -> Result<()> {
        let machine = self.existing(name)?;
        if machine.status() == EnvStatus::Stopped {
            let message = format!("`{name}` is already stopped");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        if force || machine.status() == EnvStatus::Error {
            return self.kill(name).await;
        }
        let call = Call::change(&["stop"], name, STOP_PATIENCE);
        self.limactl.succeed(&call).await.map(drop)
    }

    async fn kill(&self, name: &InstanceName) -> Result<()> {
        let machine = self.directory(name);
        machine.forget_strangers()?;
        let running = machine.processes();
        let call = Call::change(&["stop", "-f"], name, KILL_PATIENCE);
        self.limactl.succeed(&call).await?;
        // Of a machine whose settings it can't read Lima knows no processes.
        pids::end(running, END_TIMEOUT).await
    }

    /// Deletes a stopped machine and its snapshots.
    pub(crate) async fn delete_machine(&self, name: &InstanceName) -> Result<()> {
        self.sweep().await;
        let machine = self.existing(name)?;
        expect_stopped(&machine, name)?;
        if machine.is_protected() {
            let message = format!("`{name}` is protected");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("`limactl unprotect {name}` first")));
        }
        // One whose record can't be read is deleted without its snapshots: nobody knows them.
        let record = Record::read(&machine, name).unwrap_or_default();
        if machine.is_whole() {
            machine.forget_strangers()?;
            // Forced for one whose settings can't be read, which Lima holds for running.
            let call = Call::change(&["delete", "-f"], name, KILL_PATIENCE);
            let answer = self.limactl.run(&call).await?;
            if machine.is_whole() {
                return Err(limactl::failure(&answer));
            }
        } else if record.is_none() {
            return Err(rubble(&machine));
        }
        let snapshots = record.map(|record| self.snapshots(&record));
        blocking(move || {
            // What Lima has left there is no machine any more.
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

    /// Gives a stopped machine another name: its directory's.
    pub(crate) fn rename_machine(&self, name: &InstanceName, new: &InstanceName) -> Result<()> {
        let machine = self.existing(name)?;
        expect_stopped(&machine, name)?;
        self.expect_free(new)?;
        let record = Record::read(&machine, name)?;
        let target = self.directory(new);
        let Some(mut record) = record else {
            return put_in_place(machine.path(), target.path());
        };
        record.rename(Some(name), new);
        record.write(&machine)?;
        put_in_place(machine.path(), target.path())?;
        record.rename(None, new);
        record.write(&target)
    }

    /// Makes a copy of a machine. Blocking.
    pub(crate) fn copy_machine(&self, spec: &CopySpec, progress: &Progress) -> Result<()> {
        let source = self.existing(&spec.source)?;
        let known = Record::read(&source, &spec.source)?;
        let disk = match &spec.snapshot {
            Some(snapshot) => {
                let record = known
                    .as_ref()
                    .ok_or_else(|| no_snapshot(&spec.source, snapshot))?;
                self.snapshots(record).disk(snapshot)?
            }
            None => {
                expect_stopped(&source, &spec.source)?;
                if let Some(known) = &known {
                    self.snapshots(known).finish_restore(&source)?;
                }
                source.disk()?
            }
        };
        self.expect_free(&spec.name)?;
        expect_room(self.limactl.home(), &[&disk])?;
        let draft = Draft::new(&self.ours())?;
        let part = draft.path.with_extension("d");
        let assembled = || assemble(&source, &disk, &part, progress);
        let assembled = match &spec.snapshot {
            Some(_) => assembled(),
            None => while_stopped(&source, assembled),
        };
        let made = assembled.and_then(|()| {
            let mut record = Record::new(&spec.name);
            record.set_marks(&spec.marks);
            if let Some(known) = &known {
                record.inherit(known);
            }
            record.write_at(&part.join(record::FILE))?;
            put_in_place(&part, self.directory(&spec.name).path())
        });
        if made.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        made
    }

    /// The directory of a machine that there is.
    pub(crate) fn existing(&self, name: &InstanceName) -> Result<Directory> {
        let machine = self.directory(name);
        match machine.exists() && !is_draft(name) {
            true => Ok(machine),
            false => Err(missing(name)),
        }
    }

    /// The snapshots of a machine.
    pub(crate) fn snapshots(&self, record: &Record) -> Snapshots {
        Snapshots::of(&self.ours(), record.id).of_new(record.is_new)
    }

    /// Runs something in a machine, which is started for it where it doesn't run and stopped after.
    pub(crate) async fn awake<T>(
        &self,
        name: &InstanceName,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let runs = self.existing(name)?.status() != EnvStatus::Stopped;
        if runs {
            return work.await;
        }
        if let Err(error) = self.start(name).await {
            // It runs all the same where something is wrong in it, and was to be looked into only.
            if self.directory(name).is_alive()
                && let Err(also) = self.stop(name, false).await
            {
                tracing::warn!(?also, %name, "it was started for a file, and goes on running");
            }
            return Err(error);
        }
        let done = work.await;
        self.stop(name, false).await?;
        done
    }
}

/// Puts a copy together: everything of the source but what belongs to its boots, and this disk.
fn assemble(source: &Directory, disk: &Path, part: &Path, progress: &Progress) -> Result<()> {
    make_directory(part)?;
    let own = source.disk()?;
    // A snapshot has the firmware's store of its own moment.
    let kept = disk.with_file_name(EFI);
    let failed = |error| Error::io(format!("cannot copy {}", source.path().display()), error);
    for entry in fs::read_dir(source.path()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (from, name) = (entry.path(), entry.file_name());
        let to = part.join(&name);
        let kind = entry.file_type().map_err(failed)?;
        if is_left_out(&name.to_string_lossy()) || kind.is_dir() {
            continue;
        }
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(failed)?;
            std::os::unix::fs::symlink(target, &to).map_err(failed)?;
        } else if name == "vz-identifier" {
            // Lima tells the driver by this file, and makes a new identifier where it is empty.
            File::create(&to).map_err(failed)?;
        } else if from.file_name() == own.file_name() {
            copy(disk, &to, progress)?;
        } else if name == EFI && kept.is_file() {
            copy(&kept, &to, &Progress::none())?;
        } else if kind.is_file() {
            copy(&from, &to, &Progress::none())?;
        }
    }
    sync_directory(part)
}

fn is_left_out(name: &str) -> bool {
    let ends = [".pid", ".sock", ".tmp", ".log", SUCCESSOR];
    LEFT_OUT.contains(&name) || ends.iter().any(|end| name.ends_with(end))
}

/// Gives a complete machine its name, unless somebody has it.
pub(crate) fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|error| {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        match error {
            rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY => {
                let message = format!("Lima has a machine `{name}` already");
                Error::new(ErrorKind::AlreadyExists, message)
            }
            error => Error::io(format!("cannot make the machine `{name}`"), error.into()),
        }
    })?;
    sync_directory(to.parent().unwrap_or(Path::new("/")))
}

pub(crate) fn expect_stopped(machine: &Directory, name: &InstanceName) -> Result<()> {
    match machine.is_alive() {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::Conflict,
            format!("`{name}` is running"),
        )),
    }
}

/// What to say of what is in the place of a machine.
fn rubble(machine: &Directory) -> Error {
    let path = machine.path().display();
    let message = format!("{path} has no lima.yaml, and isn't known to be ours");
    let hint = format!("Lima may have left it: if no `limactl` is at work, `rm -r {path}`");
    Error::new(ErrorKind::NotOurs, message).with_hint(hint)
}

/// What to say of a machine that Lima has deleted by half.
fn half(name: &InstanceName) -> Error {
    let message = format!("of `{name}` there is only half: Lima has no settings of it any more");
    Error::new(ErrorKind::Engine, message).with_hint("remove the env, and create it anew")
}

fn taken(path: &Path, name: &InstanceName) -> Error {
    let message = format!("Lima has a machine `{name}` already");
    let hint = format!(
        "it is {}; choose another name, or delete that one",
        path.display()
    );
    Error::new(ErrorKind::AlreadyExists, message).with_hint(hint)
}

fn no_snapshot(name: &InstanceName, snapshot: &crate::model::SnapshotName) -> Error {
    let message = format!("`{name}` has no snapshot `{snapshot}`");
    Error::new(ErrorKind::NotFound, message)
}
