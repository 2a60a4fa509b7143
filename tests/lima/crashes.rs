//! Envs on Lima after a crash or a reboot: stale pid files, records of a newer version, killed VMs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};
use rustix::process::{Pid, Signal, kill_process};

pub fn trials(lima: &Lima) -> Vec<Trial> {
    [
        lima.fake_trial(
            "crashes::a_foreign_process_with_a_reused_pid_is_not_killed",
            foreign_process_with_its_pid,
        ),
        lima.fake_trial(
            "crashes::records_of_a_newer_program_are_reported_and_kept",
            a_newer_record,
        ),
        lima.fake_trial(
            "crashes::a_killed_vm_is_stopped_and_starts_again",
            killed_vm,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A process that Lima has not started.
struct ForeignProcess(Child);

impl ForeignProcess {
    fn new() -> Result<Self> {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// Writes its pid to the pid files of an instance, as after a reboot.
    fn take_over(&self, machine: &Path) -> Result<()> {
        for name in ["ha.pid", "qemu.pid"] {
            let path = machine.join(name);
            fs::write(&path, format!("{}\n", self.0.id()))?;
            let before = SystemTime::now() - Duration::from_secs(3600);
            fs::File::options()
                .write(true)
                .open(path)?
                .set_modified(before)?;
        }
        Ok(())
    }

    fn lives(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for ForeignProcess {
    fn drop(&mut self) {
        // It may have exited, which the test reports.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn foreign_process_with_its_pid(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let machine = stage.instance("web-dev");
    let mut foreign = ForeignProcess::new()?;

    project.ok(&["down", "dev"])?;
    foreign.take_over(&machine)?;
    ensure!(project.status("dev")? == "stopped", "not stopped");
    let told = project.run(&["doctor"])?;
    ensure!(told.stdout.contains("has crashed"), "{told:?}");
    // Diagnosis must not change anything.
    ensure!(machine.join("ha.pid").exists(), "the pid file is gone");
    project.ok(&["up", "dev"])?;
    ensure!(project.status("dev")? == "running", "not running");
    ensure!(foreign.lives()?, "start killed a foreign process");

    project.ok(&["down", "dev"])?;
    foreign.take_over(&machine)?;
    project.ok(&["remove", "dev", "-f"])?;
    ensure!(!machine.exists(), "not deleted");
    ensure!(foreign.lives()?, "delete killed a foreign process");
    Ok(())
}

fn killed_vm(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.ok(&["exec", "dev", "--", "touch", "unsaved"])?;
    let driver = fs::read_to_string(stage.instance("web-dev").join("qemu.pid"))?;
    let driver = Pid::from_raw(driver.trim().parse()?).context("no driver")?;
    kill_process(driver, Signal::KILL)?;
    stage.until("the env is stopped", || {
        Ok(project.status("dev")? == "stopped")
    })?;
    project.ok(&["up", "dev"])?;
    // Like a power cut: unsaved files are lost, the set-up is not.
    let lost = project.run(&["exec", "dev", "--", "test", "-e", "unsaved"])?;
    ensure!(lost.code == Some(1), "{lost:?}");
    Ok(())
}

fn a_newer_record(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.ok(&["container", "snapshot", "create", "dev", "before"])?;
    let snapshots = stage.lima_home().join(".lxc-dev-manager/snapshots");
    let of_machine = fs::read_dir(snapshots)?
        .next()
        .context("no snapshots")??
        .path();
    fs::write(of_machine.join("before/snapshot.json"), "{")?;
    let listed = project.ok(&["list", "--json"])?;
    ensure!(listed.contains("broken: can only be deleted"), "{listed}");
    project.refused(&["container", "reset", "dev", "before"], "snapshot.json")?;
    project.refused(
        &["container", "snapshot", "create", "dev", "before"],
        "already",
    )?;
    project.ok(&["container", "snapshot", "delete", "dev", "before", "-f"])?;
    project.ok(&["container", "snapshot", "create", "dev", "before"])?;

    let path = stage.instance("web-dev").join("lxc-dev-manager.json");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, text.replace("\"version\": 1", "\"version\": 2"))?;
    for arguments in [
        ["down", "dev"].as_slice(),
        &["remove", "dev", "-f"],
        &["container", "snapshot", "create", "dev", "x"],
    ] {
        let refused = project.refused(arguments, "written by a newer")?;
        ensure!(
            refused.stderr.contains("lxc-dev-manager.json"),
            "{refused:?}"
        );
    }
    let told = project.run(&["doctor"])?;
    ensure!(told.stdout.contains("written by a newer"), "{told:?}");
    fs::write(&path, text)?;
    project.ok(&["remove", "dev", "-f"])?;
    Ok(())
}
