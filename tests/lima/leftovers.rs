//! Instances that limactl itself has deleted or renamed, and their leftovers.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};

pub fn trials(lima: &Lima) -> Vec<Trial> {
    [
        lima.trials(
            "leftovers::gc_deletes_snapshots_of_a_deleted_machine",
            deleted_by_limactl,
        ),
        lima.trials(
            "leftovers::a_machine_renamed_by_limactl_keeps_its_snapshots",
            renamed_by_limactl,
        ),
        lima.trials(
            "leftovers::a_partial_machine_of_ours_is_deleted",
            partial_machine,
        ),
        lima.trials(
            "leftovers::a_foreign_directory_is_reported_and_kept",
            foreign_directory,
        ),
        lima.trials("leftovers::drafts_of_killed_processes_are_swept", drafts),
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
    ensure!(snapshots(stage)? == 2, "no snapshots");
    stage.ok(&["delete", "-f", "web-dev"])?;
    ensure!(project.status("dev")? == "not-found", "still listed");

    let told = project.run(&["doctor"])?;
    let words = "a snapshot of the machine `web-dev`";
    ensure!(told.stdout.contains(words), "{told:?}");
    project.ok(&["gc"])?;
    project.refused(&["gc", "--all"], words)?;
    ensure!(snapshots(stage)? == 2, "they were deleted without --all -f");
    let said = project.ok(&["gc", "--all", "-f"])?;
    ensure!(said.contains("the data of one deleted instance"), "{said}");
    ensure!(snapshots(stage)? == 1, "not deleted");
    project.ok(&["container", "reset", "other"])?;
    Ok(())
}

fn renamed_by_limactl(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "one")?;
    project.ok(&["container", "snapshot", "create", "dev", "before"])?;
    project.write_note("dev", "two")?;
    project.ok(&["down", "dev"])?;
    stage.ok(&["rename", "web-dev", "web-x"])?;

    let refused = project.refused(&["up", "dev"], "was renamed to `web-x`")?;
    ensure!(
        refused.stderr.contains("limactl rename web-x web-dev"),
        "{refused:?}"
    );
    // Nor is the env deleted.
    project.refused(&["remove", "dev", "-f"], "was renamed to `web-x`")?;
    let told = project.run(&["doctor"])?;
    ensure!(told.stdout.contains("was renamed to `web-x`"), "{told:?}");
    project.ok(&["gc", "--all", "-f"])?;

    stage.ok(&["rename", "web-x", "web-dev"])?;
    project.ok(&["container", "reset", "dev", "before"])?;
    project.ok(&["up", "dev"])?;
    ensure!(project.note("dev")? == "one", "the snapshot is lost");
    Ok(())
}

fn partial_machine(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.ok(&["down", "dev"])?;
    let machine = stage.instance("web-dev");
    fs::remove_file(machine.join("lima.yaml"))?;
    ensure!(project.status("dev")? == "error", "no error");
    project.refused(&["up", "dev"], "is incomplete")?;
    project.ok(&["remove", "dev", "-f"])?;
    ensure!(!machine.exists(), "not deleted");
    ensure!(snapshots(stage)? == 0, "snapshots are left");
    project.ok(&["container", "create", "dev", "debian:12"])?;
    Ok(())
}

fn foreign_directory(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.ok(&["down", "dev"])?;
    let machine = stage.instance("web-dev");
    // Lima deletes our record first.
    for file in ["lima.yaml", "lxc-dev-manager.json"] {
        fs::remove_file(machine.join(file))?;
    }
    let path = machine.canonicalize()?;
    let hint = format!("rm -r {}", path.display());
    for arguments in [
        ["remove", "dev", "-f"].as_slice(),
        &["up", "dev"],
        &["container", "create", "dev", "debian:12"],
    ] {
        let refused = project.refused(arguments, "was not created by lxc-dev-manager")?;
        ensure!(refused.stderr.contains(&hint), "{hint}: {refused:?}");
    }
    ensure!(machine.join("disk").exists(), "the disk is deleted");
    fs::remove_dir_all(path)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    Ok(())
}

fn drafts(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let (dead, living) = ("ldm-new-0000dead", "ldm-new-11110000");
    for name in [dead, living] {
        stage.create(name, "")?;
    }
    let new = stage.lima_home().join(".lxc-dev-manager/new");
    fs::create_dir_all(new.join(format!("{dead}.d")))?;
    let draft = new.join(format!("{living}.yaml"));
    let process = fs::File::create(&draft)?;
    process.lock()?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    ensure!(
        !stage.instance(dead).exists(),
        "draft of a dead process is left"
    );
    ensure!(
        !new.join(format!("{dead}.d")).exists(),
        "copy of a dead process is left"
    );
    ensure!(
        stage.instance(living).exists() && draft.exists(),
        "draft of a live process was deleted"
    );
    drop(process);
    project.ok(&["remove", "dev", "-f"])?;
    ensure!(
        !stage.instance(living).exists() && !draft.exists(),
        "not deleted"
    );
    Ok(())
}
