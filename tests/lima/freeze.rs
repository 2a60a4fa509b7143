//! The initial snapshot of an env: of a frozen guest, or after a stop if freezing fails.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage, is_root, setting};

const FREEZE: &str = include_str!("../../crates/core/src/backend/lima/snapshots/freeze.sh");

pub fn trials(lima: &Lima) -> Vec<Trial> {
    let mut trials = lima.trials("freeze::a_guest_thaws_by_itself", thaws);
    trials.extend(lima.fake_trial("freeze::an_env_is_made_with_one_boot", one_boot));
    trials.extend(lima.fake_trial("freeze::without_fsfreeze_it_is_stopped", stopped));
    trials.extend(lima.fake_trial(
        "freeze::a_freeze_that_fails_is_followed_by_a_stop",
        not_frozen,
    ));
    trials.extend(lima.fake_trial(
        "freeze::a_disk_that_is_written_is_copied_after_a_stop",
        written,
    ));
    if is_root() {
        for (name, format) in [
            ("freeze::on_ext4", "raw"),
            ("freeze::on_ext4_in_qcow2", "qcow2"),
        ] {
            trials.push(Trial::test(name, move || Ok(on_ext4(format)?)));
        }
    } else {
        eprintln!(
            "skipped: freeze::on_ext4, freeze::on_ext4_in_qcow2 (mounting a disk takes root)"
        );
    }
    trials
}

/// The kernel's freeze, and a copy, during constant writes. A qcow2 disk is written by qemu.
fn on_ext4(format: &str) -> Result<()> {
    let image = setting("LDM_TEST_LIMA_IMAGE")?;
    let lima = concat!(env!("CARGO_MANIFEST_DIR"), "/lima/freeze_on_ext4.sh");
    let still = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/core/src/backend/lima/snapshots/freeze.sh"
    );
    let place = tempfile::tempdir_in("/var/tmp")?;
    let ran = Command::new("unshare")
        .args(["--mount", "sh", lima, &image, still])
        .arg(place.path())
        .arg(format)
        .output()?;
    ensure!(ran.status.success(), "{ran:?}");
    Ok(())
}

fn made_with(stage: &LimaStage, starts: usize, stops: usize) -> Result<LimaProject<'_>> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let found = (stage.called("start")?, stage.called("stop")?);
    ensure!(
        found == (starts, stops),
        "starts and stops: {found:?}, {:#?}",
        stage.calls()?
    );
    // The snapshot has the set-up, but no later files.
    project.write_note("dev", "later")?;
    project.ok(&["container", "reset", "dev"])?;
    ensure!(project.run(&["exec", "dev", "--", "cat", "note"])?.code != Some(0));
    let user = project.ok(&["exec", "dev", "--", "sudo", "-n", "id", "-un"])?;
    ensure!(user.trim() == "root", "not set up: {user}");
    Ok(project)
}

fn one_boot(stage: &LimaStage) -> Result<()> {
    let project = made_with(stage, 1, 0)?;
    // Other snapshots need a stop.
    project.ok(&["up", "dev"])?;
    let before = stage.called("stop")?;
    project.ok(&["container", "snapshot", "create", "dev", "other"])?;
    ensure!(stage.called("stop")? == before + 1, "not stopped");
    Ok(())
}

fn stopped(stage: &LimaStage) -> Result<()> {
    stage.faults(&["no freeze"])?;
    made_with(stage, 2, 1).map(drop)
}

fn not_frozen(stage: &LimaStage) -> Result<()> {
    stage.faults(&["full freeze"])?;
    made_with(stage, 2, 1).map(drop)
}

/// Writes that the file system does not see, such as swapping.
fn written(stage: &LimaStage) -> Result<()> {
    let machine = stage.instance("web-dev");
    let (disk, agent) = (machine.join("disk"), machine.join("ha.pid"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // Only while the VM runs. The disk may not exist yet.
                if agent.exists() {
                    let _ = File::options()
                        .write(true)
                        .open(&disk)
                        .and_then(|disk| disk.set_modified(SystemTime::now()));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // Also after a panic, which would leave the thread running.
        let _end = OnDrop(&is_over);
        made_with(stage, 2, 1).map(drop)
    })
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Even if the process on the host is dead, and stdin never ends.
fn thaws(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    for (timeout, ends_early) in [("1", false), ("60", true)] {
        let began = Instant::now();
        let words = ["exec", "-u", "root", "dev", "--", "sh", "-c", FREEZE, "sh"];
        let mut command = project.command(&words);
        command.arg(timeout).stdin(Stdio::piped());
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == "frozen\n", "{line:?}");
        let stdin = child.stdin.take();
        if !ends_early {
            std::thread::sleep(Duration::from_secs(2));
        }
        drop(stdin);
        let status = child.wait()?;
        let mut errors = String::new();
        child
            .stderr
            .take()
            .context("no errors")?
            .read_to_string(&mut errors)?;
        ensure!(
            status.success() == ends_early,
            "{timeout}: {status}, {errors}"
        );
        ensure!(began.elapsed() < Duration::from_secs(30), "still frozen");
        // Writes work again.
        project.write_note("dev", timeout)?;
    }
    Ok(())
}
