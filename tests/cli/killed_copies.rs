//! SIGKILL at each step of the operations that copy, rename, publish and restart, on a real engine.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::{Ran, Workspace, apart};

use crate::killed::kill_at;

/// Kills a command at each of its steps; `whole` says what has to hold after the next change has mended
/// what was left.
fn kill_at_each(
    workspace: &Workspace,
    arguments: &[&str],
    steps: &[&str],
    mut whole: impl FnMut(&str, &Ran) -> Result<()>,
) -> Result<()> {
    for step in steps {
        kill_at(workspace, arguments, step)?;
        // Any change mends first; this one has nothing else to do.
        let next = workspace.run(&["up", "dev"])?;
        ensure!(
            next.stderr.contains("an interrupted") || next.stderr.contains("left of"),
            "{step}: {next:?}"
        );
        // A change of another env waits for a busy engine only so long, and leaves it to the next one.
        for _busy in 0..5 {
            if std::fs::read_dir(workspace.home().join("journal"))?.count() == 0 {
                break;
            }
            workspace.run(&["gc"])?;
        }
        whole(step, &next)?;
        let journals = std::fs::read_dir(workspace.home().join("journal"))?.count();
        ensure!(journals == 0, "{step}: {journals} journals; {next:?}");
    }
    Ok(())
}

pub fn clone_is_whole_or_gone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    let two = format!("{}-two", workspace.project);
    let clone = ["container", "clone", "dev", "two"];
    let steps = ["copying", "giving it", "taking the snapshot", "starting"];
    kill_at_each(&workspace, &clone, &steps, |step, next| {
        let there = workspace.instances()?.contains(&two);
        let listed = workspace.file()?.contains("two:");
        ensure!(there == listed, "{step}: {next:?}");
        if there {
            workspace.ok(&["exec", "two", "--", "true"])?;
            workspace.ok(&["remove", "-f", "two"])?;
            workspace.ok(&["gc", "--all", "-f"])?;
        }
        ensure!(workspace.file()? == before, "{step}: {}", workspace.file()?);
        Ok(())
    })?;
    workspace.ok(&clone).map(drop)
}

pub fn rename_is_done_or_not_begun(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let project = workspace.project.clone();
    for step in ["stopping", "renaming", "starting"] {
        kill_at(&workspace, &["rename", "dev", "two"], step)?;
        // Whatever it is called now, it is called so everywhere.
        let mended = workspace.run(&["up"])?;
        ensure!(
            mended.stderr.contains("an interrupted rename"),
            "{step}: {mended:?}"
        );
        let renamed = workspace.file()?.contains("two:");
        let name = if renamed { "two" } else { "dev" };
        ensure!(
            workspace.instances()? == [format!("{project}-{name}")],
            "{step}: {mended:?}"
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

pub fn restart_leaves_it_running(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    for step in ["stopping", "starting", "waiting"] {
        kill_at(&workspace, &["restart", "dev"], step)?;
        // A change of another env waits for a busy engine only so long, and leaves it to the next one.
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

pub fn making_an_image_leaves_the_env_as_it_was(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    // Small, so that it is packed in no time.
    workspace.ok(&["container", "create", "dev", "ldm-busybox"])?;
    let image = format!("{}-image", workspace.project);
    let create = ["image", "create", "dev", &image];
    let steps = [
        "stopping",
        "taking a snapshot",
        "starting it again",
        "making the image",
    ];
    let made = kill_at_each(&workspace, &create, &steps, |step, next| {
        let listed = workspace.ok(&["list"])?;
        ensure!(listed.contains("RUNNING"), "{step}: {listed}; {next:?}");
        let backend = workspace.engine().backend();
        let instance = format!("{}-dev", workspace.project).parse()?;
        let found = apart(async move { backend.instance(&instance).await })??;
        let names: Vec<&str> = found.snapshots.iter().map(|s| s.name.as_str()).collect();
        ensure!(names == ["initial-state"], "{step}: {names:?}; {next:?}");
        // The engine may have made it all the same: then it is a whole image.
        workspace.run(&["image", "delete", "-f", &image])?;
        Ok(())
    });
    workspace.run(&["image", "delete", "-f", &image])?;
    made
}

pub fn a_copy_of_files_is_whole_or_gone(engine: &TestEngine) -> Result<()> {
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
        &["copying", "putting"],
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

pub fn a_copy_between_envs_is_whole_or_gone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "clone", "dev", "two"])?;
    let fill = "mkdir src; i=0; while [ $i -lt 2000 ]; do echo $i >src/$i; i=$((i + 1)); done; \
                head -c 8000000 /dev/urandom >src/end";
    workspace.ok(&["exec", "two", "--", "sh", "-c", fill])?;
    let count = "ls src 2>/dev/null | wc -l; ls -A . | grep -c ldm- || true";
    let copy = ["mv", "two:src", "dev:"];
    kill_at_each(&workspace, &copy, &["copying", "putting"], |step, next| {
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

pub fn a_deletion_of_a_project_leaves_whole_envs(engine: &TestEngine) -> Result<()> {
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
        // Whatever is gone comes back, one after the other.
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
