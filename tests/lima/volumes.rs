//! Volumes on which copies share their blocks: a snapshot and a way back take next to no room.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};

/// What a disk holds, and where it begins: behind what the stand-in reads of it.
const HOLDS: u64 = 256 << 20;
const BEGIN: u64 = 2 << 30;
/// What records, tables and logs may take.
const ROOM: u64 = 32 << 20;

pub fn trials(lima: &Lima) -> Vec<Trial> {
    [
        lima.volume_trial(
            "volumes::blocks_are_shared_on_btrfs",
            &["mkfs.btrfs", "-q"],
            blocks_are_shared,
        ),
        lima.volume_trial(
            "volumes::blocks_are_shared_on_xfs",
            &["mkfs.xfs", "-q"],
            blocks_are_shared,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn blocks_are_shared(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "one")?;
    project.ok(&["down", "dev"])?;
    stage.fill_disk("web-dev", BEGIN, HOLDS)?;
    let before = used(stage)?;
    project.ok(&["container", "snapshot", "create", "dev", "s"])?;
    // What it was is kept as well, for undo.
    project.ok(&["container", "reset", "dev", "s"])?;
    project.ok(&["undo", "dev"])?;
    let disk = fs::metadata(stage.instance("web-dev").join("disk"))?;
    ensure!(
        disk.blocks() * 512 >= HOLDS,
        "it holds {}",
        disk.blocks() * 512
    );
    let taken = used(stage)?.saturating_sub(before);
    ensure!(
        taken < ROOM,
        "three disks of {HOLDS} bytes have taken {taken}"
    );
    project.ok(&["up", "dev"])?;
    ensure!(project.note("dev")? == "one");
    Ok(())
}

/// Bytes of the stage's volume that are in use.
fn used(stage: &LimaStage) -> Result<u64> {
    let home = File::open(stage.lima_home())?;
    rustix::fs::sync();
    let told = rustix::fs::fstatvfs(&home)?;
    Ok((told.f_blocks - told.f_bfree) * told.f_frsize)
}
