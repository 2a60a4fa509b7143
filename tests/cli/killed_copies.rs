//! SIGKILL at each step of clone, rename, restart, publish, transfer and deletion, on a real engine.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::{Ran, Workspace, apart};

use crate::killed::{
    ensure_recovered_by, ensure_undone, is_completed_removal, journals, kill_at, settle,
};

/// What is killed: a command, the noun of its operation, and the env that this changes.
struct Killed<'a> {
    arguments: &'a [&'a str],
    noun: &'a str,
    env: &'a str,
}

impl Killed<'_> {
    /// Kills the command at each of its steps. `check` runs after the next operation has recovered, and also gets
    /// whether recovery completed the command.
    fn at_each(
        &self,
        workspace: &Workspace,
        steps: &[&str],
        mut check: impl FnMut(&str, &Ran, bool) -> Result<()>,
    ) -> Result<()> {
        for step in steps {
            kill_at(workspace, self.arguments, step)?;
            settle(workspace, self.env)?;
            // Any operation recovers first; this one has nothing else to do.
            let next = workspace.run(&["up", "dev"])?;
            ensure_recovered_by(workspace, &next).with_context(|| step.to_string())?;
            let completed = self.is_completed(step, &next)?;
            check(step, &next, completed)?;
            ensure!(journals(workspace)? == 0, "{step}: {next:?}");
        }
        Ok(())
    }

    /// Whether recovery completed the command, or rolled it back.
    fn is_completed(&self, step: &str, next: &Ran) -> Result<bool> {
        let notice = format!("an interrupted {} of `{}` was ", self.noun, self.env);
        let outcome = next.stderr.split(&notice).nth(1);
        let outcome = outcome.with_context(|| format!("{step}: no {notice:?}: {next:?}"))?;
        let completed = outcome.starts_with("completed");
        // Killed before or after the request for the copy.
        let nothing = step == "copying" && outcome.starts_with("dropped: nothing was created");
        ensure!(
            completed || nothing || outcome.starts_with("rolled back"),
            "{step}: {next:?}"
        );
        Ok(completed)
    }
}

pub fn killed_clone_is_complete_or_gone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    let two = format!("{}-two", workspace.project);
    let clone = ["container", "clone", "dev", "two"];
    let steps = ["copying", "assigning", "taking snapshot", "starting"];
    let killed = Killed {
        arguments: &clone,
        noun: "clone",
        env: "two",
    };
    killed.at_each(&workspace, &steps, |step, next, completed| {
        let exists = workspace.instances()?.contains(&two);
        let listed = workspace.file()?.contains("two:");
        ensure!(exists == completed, "{step}: {next:?}");
        ensure!(listed == completed, "{step}: {next:?}");
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
        settle(&workspace, "dev")?;
        settle(&workspace, "two")?;
        // The name must be consistent everywhere.
        let recovered = workspace.run(&["up"])?;
        ensure!(recovered.code == Some(0), "{step}: {recovered:?}");
        ensure!(journals(&workspace)? == 0, "{step}: {recovered:?}");
        let renamed = workspace.file()?.contains("two:");
        ensure!(renamed || step == "stopping", "{step}: {recovered:?}");
        let outcome = if renamed { "completed" } else { "rolled back" };
        let notice = format!("an interrupted rename of `dev` was {outcome}");
        ensure!(recovered.stderr.contains(&notice), "{step}: {recovered:?}");
        let name = if renamed { "two" } else { "dev" };
        let already = format!("{name} is already running");
        ensure!(recovered.stdout.contains(&already), "{step}: {recovered:?}");
        ensure!(
            workspace.instances()? == [format!("{project}-{name}")],
            "{step}: {recovered:?}"
        );
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
        settle(&workspace, "dev")?;
        // Any change recovers first; this one starts no env itself.
        let next = workspace.run(&["gc"])?;
        ensure!(next.code == Some(0), "{step}: {next:?}");
        let notice = "an interrupted restart of `dev` was completed";
        ensure!(next.stderr.contains(notice), "{step}: {next:?}");
        ensure!(journals(&workspace)? == 0, "{step}: {next:?}");
        let listed = workspace.ok(&["list"])?;
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
    let killed = Killed {
        arguments: &create,
        noun: "image creation",
        env: "dev",
    };
    let result = killed.at_each(&workspace, &steps, |step, next, completed| {
        ensure!(!completed, "{step}: {next:?}");
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
    let push = Killed {
        arguments: &["mv", "src", "dev:"],
        noun: "file copy",
        env: "dev",
    };
    let steps = ["copying", "moving"];
    push.at_each(&workspace, &steps, |step, next, completed| {
        let seen = workspace.ok(&["exec", "dev", "--", "sh", "-c", count])?;
        let expected = if completed { "2001\n0\n" } else { "0\n0\n" };
        ensure!(seen == expected, "{step}: {seen}; {next:?}");
        workspace
            .ok(&["exec", "dev", "--", "rm", "-rf", "src"])
            .map(drop)
    })?;
    workspace.ok(&["mv", "src", "dev:"])?;
    let pull = Killed {
        arguments: &["mv", "dev:src", "back"],
        noun: "file copy",
        env: "dev",
    };
    pull.at_each(&workspace, &["copying"], |step, next, completed| {
        let back = workspace.directory().join("back");
        let count = std::fs::read_dir(&back).map_or(0, Iterator::count);
        let expected = if completed { 2001 } else { 0 };
        ensure!(count == expected, "{step}: {count}; {next:?}");
        let hidden = std::fs::read_dir(workspace.directory())?;
        let litter = hidden
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().starts_with(".ldm-"));
        ensure!(litter.count() == 0, "{step}: {next:?}");
        Ok(())
    })
}

pub fn killed_transfer_between_envs_is_complete_or_gone(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "clone", "dev", "two"])?;
    let fill = "mkdir src; i=0; while [ $i -lt 2000 ]; do echo $i >src/$i; i=$((i + 1)); done; \
                head -c 8000000 /dev/urandom >src/end";
    workspace.ok(&["exec", "two", "--", "sh", "-c", fill])?;
    let count = "ls src 2>/dev/null | wc -l; ls -A . | grep -c ldm- || true";
    let killed = Killed {
        arguments: &["mv", "two:src", "dev:"],
        noun: "file copy",
        env: "dev",
    };
    let steps = ["copying", "moving"];
    killed.at_each(&workspace, &steps, |step, next, completed| {
        let seen = workspace.ok(&["exec", "dev", "--", "sh", "-c", count])?;
        let expected = if completed { "2001\n0\n" } else { "0\n0\n" };
        ensure!(seen == expected, "{step}: {seen}; {next:?}");
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
    for (env, phase) in [
        ("dev", "stopping"),
        ("dev", "keeping"),
        ("two", "stopping"),
        ("two", "keeping"),
    ] {
        let step = format!("{env}: {phase}");
        kill_at(&workspace, &["project", "delete", "-f"], &step)?;
        settle(&workspace, env)?;
        // Each restores one removed env, the newest first. The first of them recovers.
        let next = workspace.run(&["undo"])?;
        let completed = is_completed_removal(&next, env)?;
        let removed = usize::from(completed) + usize::from(env == "two");
        ensure_undone(&next, removed > 0)?;
        ensure!(journals(&workspace)? == 0, "{step}: {next:?}");
        for _more in 1..removed {
            workspace.ok(&["undo"])?;
        }
        ensure!(workspace.file()? == before, "{step}: {}", workspace.file()?);
        let listed = workspace.ok(&["list"])?;
        let running = listed.matches("RUNNING").count();
        ensure!(running == 2, "{step}: {listed}");
        for env in ["dev", "two"] {
            workspace.ok(&["exec", env, "--", "true"])?;
        }
    }
    Ok(())
}
