//! Machines that somebody has deleted or renamed by limactl itself, and what they have left.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};

use super::envs::{note, write_note};

pub fn trials(lima: &Lima) -> Vec<Trial> {
    [
        lima.trials(
            "leftovers::snapshots_of_a_deleted_machine_go_with_gc",
            deleted_by_limactl,
        ),
        lima.trials(
            "leftovers::a_machine_renamed_by_limactl_keeps_its_snapshots",
            renamed_by_limactl,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn snapshots(stage: &LimaStage) -> Result<usize> {
    let root = stage.lima_home().join(".lxc-dev-manager/snapshots");
    Ok(fs::read_dir(root)?.count())
}

fn deleted_by_limactl(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    for env in ["dev", "other"] {
        project.ok(&["container", "create", env, "debian:12"])?;
    }
    ensure!(snapshots(stage)? == 2, "they have no snapshots");
    stage.ok(&["delete", "-f", "web-dev"])?;
    ensure!(project.status("dev")? == "not-found", "it is still there");

    let told = project.run(&["doctor"])?;
    let words = "a snapshot of the machine `web-dev`";
    ensure!(told.stdout.contains(words), "{told:?}");
    project.ok(&["gc"])?;
    project.refused(&["gc", "--all"], words)?;
    ensure!(snapshots(stage)? == 2, "they went unasked");
    let said = project.ok(&["gc", "--all", "-f"])?;
    ensure!(said.contains("what a deleted machine had left"), "{said}");
    ensure!(snapshots(stage)? == 1, "they are still there");
    project.ok(&["container", "reset", "other"])?;
    Ok(())
}

fn renamed_by_limactl(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    write_note(&project, "one")?;
    project.ok(&["container", "snapshot", "create", "dev", "before"])?;
    write_note(&project, "two")?;
    project.ok(&["down", "dev"])?;
    stage.ok(&["rename", "web-dev", "web-x"])?;

    let refused = project.refused(&["up", "dev"], "was renamed to `web-x`")?;
    ensure!(
        refused.stderr.contains("limactl rename web-x web-dev"),
        "{refused:?}"
    );
    // The env isn't given up for it either.
    project.refused(&["remove", "dev", "-f"], "was renamed to `web-x`")?;
    let told = project.run(&["doctor"])?;
    ensure!(told.stdout.contains("was renamed to `web-x`"), "{told:?}");
    project.ok(&["gc", "--all", "-f"])?;

    stage.ok(&["rename", "web-x", "web-dev"])?;
    project.ok(&["container", "reset", "dev", "before"])?;
    project.ok(&["up", "dev"])?;
    ensure!(note(&project)? == "one", "its snapshot is gone");
    Ok(())
}
