//! Volumes with shared blocks, where snapshots and restores need little space; and full volumes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};

/// Data on the disk, at an offset after the stand-in's tar.
const HOLDS: u64 = 256 << 20;
const BEGIN: u64 = 2 << 30;
/// For records, tables and logs.
const ROOM: u64 = 32 << 20;

/// Free space of a full volume: less than copies must leave free.
const LEFT: u64 = 60 << 20;

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
        lima.volume_trial(
            "volumes::a_full_one_stops_before_anything_changes",
            &["mkfs.ext4", "-q"],
            full,
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
    project.ok(&["container", "reset", "dev", "s"])?;
    project.ok(&["undo", "dev"])?;
    let disk = fs::metadata(stage.instance("web-dev").join("disk"))?;
    ensure!(
        disk.blocks() * 512 >= HOLDS,
        "{} bytes on disk",
        disk.blocks() * 512
    );
    let taken = used(stage)?.saturating_sub(before);
    ensure!(taken < ROOM, "three disks of {HOLDS} bytes use {taken}");
    project.ok(&["up", "dev"])?;
    ensure!(project.note("dev")? == "one");
    Ok(())
}

fn full(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["config", "set", "undo.on_dir", "false"])?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "one")?;
    let agent = || fs::read_to_string(stage.instance("web-dev").join("ha.pid"));
    let before = agent()?;
    let told = rustix::fs::statvfs(stage.lima_home())?;
    let free = told.f_bavail * told.f_frsize;
    let filler = File::create(stage.path("filler"))?;
    let filled = free - LEFT;
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, filled)?;
    let words = "a copy of the disk needs";
    let refused = project.refused(&["container", "snapshot", "create", "dev", "s"], words)?;
    ensure!(refused.stderr.contains("gc --all"), "{refused:?}");
    ensure!(agent()? == before, "stopped");
    let listed = project.ok(&["container", "snapshot", "list", "dev"])?;
    ensure!(
        !listed.lines().any(|line| line.starts_with("s ")),
        "{listed}"
    );
    project.refused(&["container", "reset", "dev"], words)?;
    project.ok(&["up", "dev"])?;
    ensure!(project.note("dev")? == "one", "restored");
    project.ok(&["down", "dev"])?;
    project.refused(&["container", "clone", "dev", "copy"], words)?;
    project.refused(&["image", "create", "dev", "base"], words)?;
    let machines = stage.ok(&["list", "--quiet"])?;
    ensure!(machines == "web-dev\n", "{machines}");
    drop(filler);
    fs::remove_file(stage.path("filler"))?;
    project.ok(&["up", "dev"])?;
    ensure!(project.note("dev")? == "one", "the disk has changed");
    project.ok(&["container", "snapshot", "create", "dev", "s"])?;
    Ok(())
}

fn used(stage: &LimaStage) -> Result<u64> {
    let home = File::open(stage.lima_home())?;
    rustix::fs::sync();
    let told = rustix::fs::fstatvfs(&home)?;
    Ok((told.f_blocks - told.f_bfree) * told.f_frsize)
}
