//! SIGKILL at each step of clone, rename, restart, publish, transfer and deletion, on a real engine.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::{Ran, Workspace, apart};

use crate::killed::kill_at;

/// Kills a command at each of its steps. `check` runs after the next operation has recovered.
fn kill_at_each(
    workspace: &Workspace,
    arguments: &[&str],
    steps: &[&str],
    mut check: impl FnMut(&str, &Ran) -> Result<()>,
) -> Result<()> {
    for step in steps {
        kill_at(workspace, arguments, step)?;
        // Any operation recovers first; this one has nothing else to do.
        let next = workspace.run(&["up", "dev"])?;
        ensure!(
            next.stderr.contains("an interrupted") || next.stderr.contains("left of"),
            "{step}: {next:?}"
        );
        // Recovery waits for a busy engine only for a limited time and is retried by the next operation.
        for _busy in 0..5 {
            if std::fs::read_dir(workspace.home().join("journal"))?.count() == 0 {
                break;
            }
            workspace.run(&["gc"])?;
        }
        check(step, &next)?;
        let journals = std::fs::read_dir(workspace.home().join("journal"))?.count();
        ensure!(journals == 0, "{step}: {journals} journals; {next:?}");
    }
    Ok(())
}

pub fn killed_clone_is_complete_or_gone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    let two = format!("{}-two", workspace.project);
    let clone = ["container", "clone", "dev", "two"];
    let steps = ["copying", "assigning", "taking snapshot", "starting"];
    kill_at_each(&workspace, &clone, &steps, |step, next| {
        let exists = workspace.instances()?.contains(&two);
        let listed = workspace.file()?.contains("two:");
        ensure!(exists == listed, "{step}: {next:?}");
        if exists {
            workspace.ok(&["exec", "two", "--", "true"])?;
            workspace.ok(&["remove", "-f", "two"])?;
            workspace.ok(&["gc", "--all", "-f"])?;
        }
        ensure!(workspace.file()? == before, "{step}: {}", workspace.file()?);
        Ok(())
    })?;
    workspace.ok(&clone).map(drop)
}

pub fn killed_rename_is_consistent(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let project = workspace.project.clone();
    for step in ["stopping", "renaming", "starting"] {
        kill_at(&workspace, &["rename", "dev", "two"], step)?;
        // The name must be consistent everywhere.
        let recovered = workspace.run(&["up"])?;
        ensure!(
            recovered.stderr.contains("an interrupted rename"),
            "{step}: {recovered:?}"
        );
        let renamed = workspace.file()?.contains("two:");
        let name = if renamed { "two" } else { "dev" };
        ensure!(
            workspace.instances()? == [format!("{project}-{name}")],
            "{step}: {recovered:?}"
        );
        workspace.ok(&["up", name])?;
        let host = workspace.ok(&["exec", name, "--", "hostname"])?;
        ensure!(host == format!("{project}-{name}\n"), "{step}: {host}");
        if renamed {
            workspace.ok(&["rename", "two", "dev"])?;
        }
    }
    Ok(())
}

pub fn killed_restart_leaves_env_running(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    for step in ["stopping", "starting", "waiting"] {
        kill_at(&workspace, &["restart", "dev"], step)?;
        // Recovery waits for a busy engine only for a limited time and is retried by the next operation.
        let mut listed = String::new();
        for _busy in 0..5 {
            workspace.run(&["gc"])?;
            listed = workspace.ok(&["list"])?;
            if listed.contains("RUNNING") {
                break;
            }
        }
        ensure!(listed.contains("RUNNING"), "{step}: {listed}");
    }
    Ok(())
}

pub fn killed_publish_leaves_env_unchanged(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    // A small image that is quick to publish.
    workspace.ok(&["container", "create", "dev", "ldm-busybox"])?;
    let image = format!("{}-image", workspace.project);
    let create = ["image", "create", "dev", &image];
    let steps = [
        "stopping",
        "taking snapshot",
        "starting instance again",
        "creating image",
    ];
    let result = kill_at_each(&workspace, &create, &steps, |step, next| {
        let listed = workspace.ok(&["list"])?;
        ensure!(listed.contains("RUNNING"), "{step}: {listed}; {next:?}");
        let backend = workspace.engine().backend();
        let instance = format!("{}-dev", workspace.project).parse()?;
        let found = apart(async move { backend.instance(&instance).await })??;
        let names: Vec<&str> = found.snapshots.iter().map(|s| s.name.as_str()).collect();
        ensure!(names == ["initial-state"], "{step}: {names:?}; {next:?}");
        // The engine may have completed the image.
        workspace.run(&["image", "delete", "-f", &image])?;
        Ok(())
    });
    workspace.run(&["image", "delete", "-f", &image])?;
    result
}

pub fn killed_transfer_is_complete_or_gone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let source = workspace.directory().join("src");
    std::fs::create_dir(&source)?;
    for number in 0..2000 {
        std::fs::write(source.join(number.to_string()), vec![7; 4096])?;
    }
    std::fs::write(source.join("end"), vec![7; 32 << 20])?;
    let count = "ls src 2>/dev/null | wc -l; ls -A . | grep -c ldm- || true";
    kill_at_each(
        &workspace,
        &["mv", "src", "dev:"],
        &["copying", "moving"],
        |step, next| {
            let seen = workspace.ok(&["exec", "dev", "--", "sh", "-c", count])?;
            ensure!(
                seen == "0\n0\n" || seen == "2001\n0\n",
                "{step}: {seen}; {next:?}"
            );
            workspace
                .ok(&["exec", "dev", "--", "rm", "-rf", "src"])
                .map(drop)
        },
    )?;
    workspace.ok(&["mv", "src", "dev:"])?;
    kill_at_each(
        &workspace,
        &["mv", "dev:src", "back"],
        &["copying"],
        |step, next| {
            let back = workspace.directory().join("back");
            let count = std::fs::read_dir(&back).map_or(0, Iterator::count);
            ensure!(count == 0 || count == 2001, "{step}: {count}; {next:?}");
            let hidden = std::fs::read_dir(workspace.directory())?;
            let litter = hidden
                .flatten()
                .filter(|file| file.file_name().to_string_lossy().starts_with(".ldm-"));
            ensure!(litter.count() == 0, "{step}: {next:?}");
            Ok(())
        },
    )
}

pub fn killed_transfer_between_envs_is_complete_or_gone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "clone", "dev", "two"])?;
    let fill = "mkdir src; i=0; while [ $i -lt 2000 ]; do echo $i >src/$i; i=$((i + 1)); done; \
                head -c 8000000 /dev/urandom >src/end";
    workspace.ok(&["exec", "two", "--", "sh", "-c", fill])?;
    let count = "ls src 2>/dev/null | wc -l; ls -A . | grep -c ldm- || true";
    let copy = ["mv", "two:src", "dev:"];
    kill_at_each(&workspace, &copy, &["copying", "moving"], |step, next| {
        let seen = workspace.ok(&["exec", "dev", "--", "sh", "-c", count])?;
        ensure!(
            seen == "0\n0\n" || seen == "2001\n0\n",
            "{step}: {seen}; {next:?}"
        );
        let source = workspace.ok(&["exec", "two", "--", "sh", "-c", count])?;
        ensure!(source == "2001\n0\n", "{step}: {source}");
        workspace
            .ok(&["exec", "dev", "--", "rm", "-rf", "src"])
            .map(drop)
    })
}

pub fn killed_project_deletion_can_be_undone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "clone", "dev", "two"])?;
    let before = workspace.file()?;
    for step in [
        "dev: stopping",
        "dev: keeping",
        "two: stopping",
        "two: keeping",
    ] {
        kill_at(&workspace, &["project", "delete", "-f"], step)?;
        // Restore the removed envs one by one.
        for _gone in 0..3 {
            workspace.run(&["undo"])?;
        }
        ensure!(workspace.file()? == before, "{step}: {}", workspace.file()?);
        for env in ["dev", "two"] {
            workspace.ok(&["up", env])?;
            workspace.ok(&["exec", env, "--", "true"])?;
        }
    }
    Ok(())
}
