//! SIGKILL during operations on Lima: at each reported step, and at each point of the `limactl` call. The next command
//! completes the operation or rolls it back, and reports it.

use std::process::Child;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};
use lxc_dev_manager_tests::workspace::{Ran, kill_at_step};
use rustix::process::{Pid, Signal, kill_process};

type Test = fn(&LimaStage) -> Result<()>;

pub fn trials(lima: &Lima) -> Vec<Trial> {
    let tests: [(&str, Test); 8] = [
        ("killed::create_is_rolled_back_or_completed", create),
        ("killed::reset_is_rolled_back_or_completed", reset),
        ("killed::snapshot_is_there_or_not", snapshot),
        ("killed::removal_is_completed_or_rolled_back", removal),
        ("killed::clone_is_there_or_not", clone),
        ("killed::rename_is_completed_or_rolled_back", rename),
        ("killed::image_is_there_or_not", image),
        ("killed::in_the_middle_of_a_copy", copy),
    ];
    tests
        .into_iter()
        .flat_map(|(name, test)| lima.fake_trial(name, test))
        .collect()
}

/// Point of the SIGKILL.
#[derive(Debug, Clone, Copy)]
enum At {
    /// Kills our command when it reports this step; `limactl` continues.
    Step(&'static str),
    /// Kills our command and `limactl` at this point of `limactl`.
    Limactl(&'static str),
}

fn kill(project: &LimaProject, arguments: &[&str], at: At) -> Result<()> {
    let stage = project.stage();
    let killed = match at {
        At::Step(step) => kill_at_step(project.command(arguments), step),
        At::Limactl(point) => {
            stage.faults(&[&format!("hang {point}")])?;
            let child = project.command(arguments).spawn()?;
            let killed = kill_at_point(stage, child, point);
            stage.faults(&[])?;
            killed
        }
    };
    killed.with_context(|| format!("{arguments:?} at {at:?}"))
}

fn kill_at_point(stage: &LimaStage, mut child: Child, point: &str) -> Result<()> {
    let hung = stage.lima_home().join(".fake/hung");
    let mut there = None;
    let came = stage.until(point, || {
        let text = std::fs::read_to_string(&hung).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(point));
        there = line
            .and_then(|pid| pid.trim().parse().ok())
            .and_then(Pid::from_raw);
        ensure!(child.try_wait()?.is_none(), "ended before the kill");
        Ok(there.is_some())
    });
    child.kill()?;
    let said = child.wait_with_output()?;
    came.with_context(|| format!("{said:?}"))?;
    std::fs::remove_file(hung)?;
    kill_process(there.context("no pid")?, Signal::KILL)?;
    Ok(())
}

/// Checks that the next command recovers the operation and reports it.
fn recovered(project: &LimaProject, arguments: &[&str], what: &str) -> Result<Ran> {
    let next = project.run(arguments)?;
    let told = format!("an interrupted {what}");
    ensure!(
        next.stderr.contains(&told),
        "{what} is not reported: {next:#?}"
    );
    Ok(next)
}

/// Checks envs and instances of the project, and that no partial files are left.
fn ensure_complete(project: &LimaProject, envs: &[&str]) -> Result<()> {
    let listed = project.ok(&["--json", "list"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let mut names: Vec<_> = listed["envs"]
        .as_array()
        .context("no envs")?
        .iter()
        .map(|env| env["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    ensure!(names == envs, "envs {names:?}: {listed}");
    let machines = project.stage().ok(&["list", "--quiet"])?;
    let mut machines: Vec<_> = machines.lines().collect();
    machines.sort_unstable();
    let wanted: Vec<_> = envs.iter().map(|env| format!("web-{env}")).collect();
    ensure!(machines == wanted, "machines {machines:?}");
    for place in [
        project.stage().lima_home(),
        project.stage().lima_home().join(".lxc-dev-manager"),
    ] {
        let left = parts(&place)?;
        ensure!(left.is_empty(), "left behind: {left:?}");
    }
    Ok(())
}

/// Our partial files in a directory tree.
fn parts(place: &std::path::Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == ".fake" {
            continue;
        }
        let prefixes = [".part-", "ldm-new-", "restoring"];
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with(".restoring") {
            found.push(entry.path().display().to_string());
        } else if entry.file_type()?.is_dir() {
            found.extend(parts(&entry.path())?);
        }
    }
    Ok(found)
}

fn note(project: &LimaProject, env: &str) -> Result<String> {
    project.ok(&["up", env])?;
    project.note(env)
}

fn create(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let before = project.file()?;
    for at in [
        At::Step("creating"),
        At::Step("starting"),
        At::Step("setting up"),
        At::Step("taking snapshot"),
        At::Limactl("create dir"),
        At::Limactl("create yaml"),
        At::Limactl("create image"),
        At::Limactl("create disk"),
        At::Limactl("start agent"),
        At::Limactl("start running"),
        // The VM dies while its disk is frozen.
        At::Limactl("freeze before-pack"),
        At::Limactl("freeze packed"),
    ] {
        kill(&project, &["container", "create", "dev", "debian:12"], at)?;
        let next = recovered(&project, &["down", "dev"], "create of `dev`")?;
        if project.file()? != before {
            // Killed after the last write.
            ensure!(next.stderr.contains("was completed"), "{at:?}: {next:?}");
            ensure_complete(&project, &["dev"]).with_context(|| format!("{at:?}"))?;
            project.ok(&["remove", "dev", "-f"])?;
            project.ok(&["gc", "--all", "-f"])?;
            continue;
        }
        ensure_complete(&project, &[]).with_context(|| format!("{at:?}: {next:?}"))?;
    }
    project.ok(&["container", "create", "dev", "debian:12"])?;
    ensure_complete(&project, &["dev"])
}

fn reset(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["config", "set", "undo.on_dir", "false"])?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "early")?;
    project.ok(&["container", "snapshot", "create", "dev", "early"])?;
    for at in [
        At::Step("stopping"),
        At::Step("restoring"),
        At::Step("starting"),
        At::Limactl("stop begin"),
        At::Limactl("start begin"),
        At::Limactl("start agent"),
        At::Limactl("start running"),
    ] {
        project.write_note("dev", "late")?;
        kill(&project, &["container", "reset", "dev", "early"], at)?;
        let next = recovered(&project, &["up", "dev"], "restore of `dev`")?;
        ensure!(next.code == Some(0), "{at:?}: {next:?}");
        let dropped = next.stderr.contains("was dropped");
        let left = note(&project, "dev").with_context(|| format!("{at:?}"))?;
        let wanted = if dropped { "late" } else { "early" };
        ensure!(left == wanted, "{at:?}: {left}; {next:?}");
        ensure_complete(&project, &["dev"]).with_context(|| format!("{at:?}"))?;
    }
    Ok(())
}

fn snapshot(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "early")?;
    for (number, at) in [
        At::Step("stopping"),
        At::Limactl("stop begin"),
        At::Limactl("start begin"),
        At::Limactl("start agent"),
        At::Limactl("start running"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("s{number}");
        project.write_note("dev", &name)?;
        kill(
            &project,
            &["container", "snapshot", "create", "dev", &name],
            at,
        )?;
        let next = recovered(&project, &["up", "dev"], "snapshot of `dev`")?;
        ensure!(note(&project, "dev")? == name, "{at:?}: {next:?}");
        ensure_complete(&project, &["dev"]).with_context(|| format!("{at:?}"))?;
        // It is complete, or its name is free.
        let listed = project.ok(&["container", "snapshot", "list", "dev"])?;
        if listed.contains(&name) {
            project.write_note("dev", "later")?;
            project.ok(&["container", "reset", "dev", &name])?;
            ensure!(note(&project, "dev")? == name, "{at:?}: {listed}");
        } else {
            project.ok(&["container", "snapshot", "create", "dev", &name])?;
        }
    }
    Ok(())
}

fn removal(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["config", "set", "undo.on_dir", "true"])?;
    for at in [At::Step("stopping"), At::Limactl("stop begin")] {
        project.ok(&["container", "create", "dev", "debian:12"])?;
        project.write_note("dev", "here")?;
        kill(&project, &["remove", "dev", "-f"], at)?;
        let next = recovered(&project, &["undo"], "removal of `dev`")?;
        ensure!(note(&project, "dev")? == "here", "{at:?}: {next:?}");
        ensure_complete(&project, &["dev"]).with_context(|| format!("{at:?}: {next:?}"))?;
        project.ok(&["remove", "dev", "-f"])?;
        project.ok(&["gc", "--all", "-f"])?;
        ensure_complete(&project, &[])?;
    }
    // Without an undo copy, deletions cannot be rolled back.
    project.ok(&["config", "set", "undo.on_dir", "false"])?;
    for at in [
        At::Step("deleting"),
        At::Limactl("delete begin"),
        At::Limactl("delete half"),
    ] {
        project.ok(&["container", "create", "dev", "debian:12"])?;
        kill(&project, &["remove", "dev", "-f"], at)?;
        recovered(&project, &["down", "dev"], "removal of `dev`")?;
        let envs: &[&str] = if project.file()?.contains("dev:") {
            &["dev"]
        } else {
            &[]
        };
        ensure_complete(&project, envs).with_context(|| format!("{at:?}"))?;
        if !envs.is_empty() {
            project.ok(&["up", "dev"])?;
            project.ok(&["remove", "dev", "-f"])?;
        }
    }
    Ok(())
}

fn clone(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "here")?;
    for at in [
        At::Step("copying"),
        At::Step("assigning"),
        At::Step("starting"),
        At::Limactl("start begin"),
        At::Limactl("start agent"),
        At::Limactl("start running"),
    ] {
        project.ok(&["down", "dev"])?;
        kill(&project, &["container", "clone", "dev", "copy"], at)?;
        let next = recovered(&project, &["up", "dev"], "clone")?;
        ensure!(note(&project, "dev")? == "here", "{at:?}: {next:?}");
        if project.file()?.contains("copy:") {
            ensure_complete(&project, &["copy", "dev"]).with_context(|| format!("{at:?}"))?;
            ensure!(note(&project, "copy")? == "here", "{at:?}: {next:?}");
            project.ok(&["remove", "copy", "-f"])?;
            project.ok(&["gc", "--all", "-f"])?;
        }
        ensure_complete(&project, &["dev"]).with_context(|| format!("{at:?}: {next:?}"))?;
    }
    Ok(())
}

fn rename(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "here")?;
    for at in [
        At::Step("stopping"),
        At::Step("renaming"),
        At::Step("starting"),
        At::Limactl("stop begin"),
        At::Limactl("start begin"),
        At::Limactl("start agent"),
        At::Limactl("start running"),
    ] {
        project.ok(&["up", "dev"])?;
        kill(&project, &["rename", "dev", "new"], at)?;
        let next = recovered(&project, &["up", "*"], "rename")?;
        let is = if project.file()?.contains("new:") {
            "new"
        } else {
            "dev"
        };
        ensure!(note(&project, is)? == "here", "{at:?}: {next:?}");
        ensure_complete(&project, &[is]).with_context(|| format!("{at:?}: {next:?}"))?;
        if is == "new" {
            project.ok(&["rename", "new", "dev"])?;
        }
    }
    Ok(())
}

fn image(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "here")?;
    for at in [
        At::Step("taking"),
        At::Step("creating"),
        At::Limactl("stop begin"),
        At::Limactl("start agent"),
    ] {
        project.ok(&["up", "dev"])?;
        kill(&project, &["image", "create", "dev", "base"], at)?;
        let next = project.run(&["up", "dev"])?;
        ensure!(next.code == Some(0), "{at:?}: {next:?}");
        ensure!(note(&project, "dev")? == "here", "{at:?}: {next:?}");
        // It is complete, or its name is free.
        let listed = project.ok(&["image", "list"])?;
        if !listed.contains("base") {
            project.ok(&["image", "create", "dev", "base"])?;
        }
        ensure_complete(&project, &["dev"]).with_context(|| format!("{at:?}: {next:?}"))?;
        project.ok(&["container", "create", "other", "base"])?;
        ensure!(note(&project, "other")? == "here", "{at:?}: {listed}");
        project.ok(&["remove", "other", "-f"])?;
        project.ok(&["gc", "--all", "-f"])?;
        project.ok(&["image", "delete", "base", "-f"])?;
    }
    Ok(())
}

/// Data on the disk: copying it takes long enough for the kill.
const HOLDS: u64 = 384 << 20;

/// A snapshot and a restore of a stopped VM, killed while copying its disk.
fn copy(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["config", "set", "undo.on_dir", "false"])?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.write_note("dev", "early")?;
    project.ok(&["down", "dev"])?;
    stage.fill_disk("web-dev", 1 << 30, HOLDS)?;
    for (arguments, what) in [
        (
            &["container", "snapshot", "create", "dev", "s"][..],
            "snapshot of `dev`",
        ),
        (
            &["container", "reset", "dev", "initial-state"],
            "restore of `dev`",
        ),
    ] {
        let mut child = project.command(arguments).spawn()?;
        let has_started = stage.until("a copy has started", || {
            ensure!(child.try_wait()?.is_none(), "ended before the kill");
            Ok(!parts(&stage.lima_home())?.is_empty())
        });
        child.kill()?;
        let said = child.wait_with_output()?;
        has_started.with_context(|| format!("{arguments:?}: {said:?}"))?;
        let next = recovered(&project, &["up", "dev"], what)?;
        ensure_complete(&project, &["dev"]).with_context(|| what.to_owned())?;
        let ran = project.ok(&["exec", "dev", "--", "ls"])?;
        // A completed restore has removed the note.
        let is_restored = what.starts_with("restore") && next.stderr.contains("completed");
        ensure!(ran.contains("note") != is_restored, "{ran}: {next:?}");
        project.ok(&["down", "dev"])?;
    }
    Ok(())
}
