//! Envs on Lima through the CLI: a project with `backend: lima`.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};

pub fn trials(lima: &Lima) -> Vec<Trial> {
    [
        lima.trials(
            "envs::an_env_is_created_snapshotted_and_reset",
            created_snapshotted_and_reset,
        ),
        lima.trials(
            "envs::removal_is_undone_from_an_undo_copy",
            removal_is_undone,
        ),
        lima.trials(
            "envs::a_foreign_machine_is_never_touched",
            a_foreign_machine,
        ),
        lima.fake_trial(
            "envs::a_create_that_fails_leaves_nothing",
            fails_and_leaves_nothing,
        ),
        lima.fake_trial("envs::an_old_limactl_is_named", old_limactl),
        lima.trials(
            "envs::a_clone_has_its_own_id_after_each_restore",
            a_clones_identity,
        ),
        lima.trials(
            "envs::one_that_starts_never_looks_broken",
            never_looks_broken,
        ),
        lima.trials(
            "envs::autostart_is_rejected_with_a_reason",
            autostart_is_refused,
        ),
        lima.trials("envs::mounts_and_setup_are_there", mounts_and_setup),
        lima.fake_trial("envs::a_missing_mount_is_reported", mount_is_missing),
        lima.trials("envs::templates_pass_limas_own_check", templates_are_valid),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn created_snapshotted_and_reset(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let listed = project.ok(&["list"])?;
    ensure!(listed.contains("RUNNING"), "{listed}");
    let ended = project.run(&["exec", "dev", "--", "sh", "-c", "id -un; exit 7"])?;
    ensure!(
        ended.code == Some(7) && ended.stdout == "dev\n",
        "{ended:?}"
    );

    project.write_note("dev", "one")?;
    let refused = project.run(&["container", "snapshot", "create", "dev", "x", "--no-stop"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("for a snapshot"), "{refused:?}");
    project.ok(&["container", "snapshot", "create", "dev", "before"])?;
    ensure!(project.note("dev")? == "one", "not started again");
    project.write_note("dev", "it's $(two)")?;
    project.ok(&["container", "reset", "dev", "before"])?;
    ensure!(project.note("dev")? == "one", "not restored");

    project.ok(&["image", "create", "dev", "base"])?;
    project.ok(&["container", "create", "other", "base"])?;
    let copied = project.ok(&["exec", "other", "--", "cat", "note"])?;
    ensure!(copied == "one", "{copied}");
    let calls = stage.calls()?.into_iter();
    let empty = stage.path("state/run/limactl").canonicalize()?;
    let odd = calls
        .filter(|call| call.args.iter().any(|word| word == "--tty=false"))
        .find(|call| call.service.is_some() || call.cwd != empty);
    ensure!(odd.is_none(), "{odd:?}");
    Ok(())
}

fn a_clones_identity(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let id = |env: &str| project.ok(&["exec", env, "--", "cat", "/etc/machine-id"]);
    project.ok(&["container", "create", "dev", "debian:12"])?;
    // The stand-in's guest has no machine ID.
    let script = "[ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id";
    project.ok(&["exec", "-u", "root", "dev", "--", "sh", "-c", script])?;
    let known = id("dev")?;
    ensure!(known.trim().len() == 32, "{known:?}");
    project.ok(&["down", "dev"])?;
    project.ok(&["container", "clone", "dev", "copy"])?;
    ensure!(id("copy")? != known, "the clone has the ID of its source");
    // The initial state of a clone has the machine ID of its source.
    project.ok(&["container", "reset", "copy"])?;
    ensure!(id("copy")? != known, "the clone has the ID of its source");
    let before = id("copy")?;
    project.ok(&["container", "snapshot", "create", "copy", "s"])?;
    project.ok(&["down", "copy"])?;
    // Two restores without a boot in between; the second state has its own ID.
    project.ok(&["container", "reset", "copy"])?;
    project.ok(&["container", "reset", "copy", "s"])?;
    project.ok(&["up", "copy"])?;
    ensure!(id("copy")? == before, "the machine ID has changed");
    Ok(())
}

fn never_looks_broken(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.ok(&["down", "dev"])?;
    stage.faults(&["slow boot 1000"])?;
    let mut up = project.command(&["up", "dev"]).spawn()?;
    let (mut seen, mut of_lima) = (Vec::new(), Vec::new());
    while up.try_wait()?.is_none() {
        of_lima.push(stage.status("web-dev")?);
        seen.push(project.status("dev")?);
    }
    let ended = up.wait_with_output()?;
    ensure!(ended.status.success(), "{ended:?}");
    let odd = |status: &&String| !["stopped", "running"].contains(&status.as_str());
    ensure!(seen.iter().find(odd).is_none(), "{seen:?}");
    // A real limactl may be too fast to show it.
    let is_broken = of_lima.iter().any(|status| status == "Broken");
    ensure!(is_broken || !stage.is_fake(), "{of_lima:?}");
    Ok(())
}

fn mounts_and_setup(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let directory = stage.path("project");
    for name in ["shared", "fixed"] {
        fs::create_dir(directory.join(name))?;
        fs::write(directory.join(name).join("file"), format!("{name} 'here'"))?;
    }
    let text = "project: web\nbackend: lima\ncontainers:\n  dev:\n    image: debian:12\n    mounts:\n    \
                - {host: ./shared, guest: /srv/shared}\n    - {host: ./fixed, guest: /srv/it's fixed, readonly: true}\n    \
                setup: |\n      #!/bin/sh\n      cat /srv/shared/file \"/srv/it's fixed/file\" >note\n      \
                sudo -n touch /etc/was-set-up\n      echo \"a line of it's own\"\n";
    fs::write(directory.join("containers.yaml"), text)?;
    project.ok(&["trust"])?;
    let made = project.run(&["container", "create", "dev"])?;
    ensure!(made.code == Some(0), "{made:?}");
    let shown = [&made.stdout, &made.stderr].map(|text| text.contains("a line of it's own"));
    ensure!(shown.contains(&true), "{made:?}");
    ensure!(
        project.note("dev")? == "shared 'here'fixed 'here'",
        "{}",
        project.note("dev")?
    );
    project.ok(&["exec", "dev", "--", "test", "-f", "/etc/was-set-up"])?;
    project.ok(&["exec", "dev", "--", "cp", "note", "/srv/shared/back"])?;
    ensure!(fs::read_to_string(directory.join("shared/back"))?.starts_with("shared"));
    let written = project.run(&["exec", "dev", "--", "touch", "/srv/it's fixed/new"])?;
    ensure!(
        written.code != Some(0),
        "the mount is writable: {written:?}"
    );

    // A failing script fails the creation.
    project.ok(&["remove", "dev", "-f"])?;
    fs::write(
        directory.join("containers.yaml"),
        "project: web\nbackend: lima\ncontainers:\n  dev:\n    image: debian:12\n    setup: |\n      echo so it goes\n      exit 3\n",
    )?;
    let failed = project.refused(&["container", "create", "dev"], "exit code 3")?;
    ensure!(
        !stage.instance("web-dev").exists(),
        "not deleted: {failed:?}"
    );
    Ok(())
}

fn mount_is_missing(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let directory = stage.path("project");
    fs::create_dir(directory.join("shared"))?;
    let text = "project: web\nbackend: lima\ncontainers:\n  dev:\n    image: debian:12\n    mounts:\n    \
                - {host: ./shared, guest: \"/srv/it's shared\"}\n    setup: touch \"/srv/it's shared/file\"\n";
    fs::write(directory.join("containers.yaml"), text)?;
    project.ok(&["trust"])?;
    stage.faults(&["no mounts"])?;
    let words = "`/srv/it's shared` is not mounted in `web-dev`";
    let refused = project.refused(&["container", "create", "dev"], words)?;
    ensure!(
        refused.stderr.contains("mountType: reverse-sshfs"),
        "{refused:?}"
    );
    ensure!(!stage.instance("web-dev").exists(), "not deleted");
    stage.faults(&[])?;
    project.ok(&["container", "create", "dev"])?;
    ensure!(
        directory.join("shared/file").exists(),
        "set-up ran without the mount"
    );
    Ok(())
}

fn removal_is_undone(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["config", "set", "undo.on_dir", "true"])?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "one")?;
    project.ok(&["remove", "dev", "-f"])?;
    let listed = project.ok(&["--json", "list"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    ensure!(listed["envs"] == serde_json::json!([]), "{listed}");
    project.ok(&["undo"])?;
    ensure!(project.note("dev")? == "one", "restored without its files");
    Ok(())
}

fn a_foreign_machine(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    stage.create("web-dev", "")?;
    let refused = project.run(&["container", "create", "dev", "debian:12"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("is not an env"), "{refused:?}");
    // Even if the file contains it.
    let text = "project: web\nbackend: lima\ncontainers: {dev: {image: \"debian:12\"}}\n";
    fs::write(stage.path("project/containers.yaml"), text)?;
    for arguments in [
        ["container", "snapshot", "create", "dev", "x"].as_slice(),
        &["container", "reset", "dev", "x"],
        &["remove", "dev", "-f"],
        &["config", "apply"],
        &["up", "dev"],
    ] {
        let ran = project.run(arguments)?;
        ensure!(ran.code != Some(0), "{arguments:?}: {ran:?}");
    }
    let machine = stage.instance("web-dev");
    ensure!(machine.join("lima.yaml").exists(), "deleted");
    ensure!(!machine.join("lxc-dev-manager.json").exists(), "changed");
    ensure!(stage.status("web-dev")? == "Stopped", "started");
    Ok(())
}

fn fails_and_leaves_nothing(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    stage.faults(&["full create"])?;
    let failed = project.run(&["container", "create", "dev", "debian:12"])?;
    ensure!(failed.code != Some(0), "{failed:?}");
    ensure!(
        failed.stderr.contains("volume of LIMA_HOME is full"),
        "{failed:?}"
    );
    let left = project.ok(&["--json", "list"])?;
    let left: serde_json::Value = serde_json::from_str(&left)?;
    ensure!(
        left["envs"].as_array().context("no envs")?.is_empty(),
        "{left}"
    );
    stage.faults(&[])?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let machines = stage.ok(&["list", "--quiet"])?;
    ensure!(machines == "web-dev\n", "{machines}");
    Ok(())
}

fn old_limactl(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    stage.faults(&["version 2.0.3"])?;
    let failed = project.run(&["container", "create", "dev", "debian:12"])?;
    ensure!(failed.code != Some(0), "{failed:?}");
    ensure!(failed.stderr.contains("2.0.3 is too old"), "{failed:?}");
    Ok(())
}

fn templates_are_valid(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let said = project.ok(&["--json", "template", "validate"])?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    let templates = said["templates"].as_array().context("no templates")?;
    ensure!(templates.len() >= 10, "{said}");
    for template in templates {
        ensure!(template["by_lima"] == true, "{template}");
        ensure!(template["valid"] == true, "{template}");
    }
    Ok(())
}

fn autostart_is_refused(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let path = stage.path("project/containers.yaml");
    let words = "`autostart: true` is not supported by Lima";
    let text = fs::read_to_string(&path)?;
    let create = ["container", "create", "dev", "debian:12"];
    fs::write(
        &path,
        text.replace("defaults: {", "defaults: {autostart: true, "),
    )?;
    project.ok(&["trust"])?;
    let refused = project.refused(&create, words)?;
    ensure!(
        refused.stderr.contains("start-at-login web-dev"),
        "{refused:?}"
    );
    ensure!(!stage.instance("web-dev").exists(), "created");
    fs::write(&path, text)?;
    project.ok(&create)?;
    let text = fs::read_to_string(&path)?;
    fs::write(
        &path,
        text.replace("defaults: {", "defaults: {autostart: true, "),
    )?;
    project.refused(&["config", "apply", "dev"], words)?;
    ensure!(project.status("dev")? == "running", "changed");
    Ok(())
}
