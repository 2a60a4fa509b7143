//! Our commands with a limactl that is missing, hangs, dies or prints unexpected output, and with edited or deleted
//! files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};
use lxc_dev_manager_tests::workspace::Ran;
use rustix::process::{Pid, Signal, kill_process};

const CREATE: [&str; 4] = ["container", "create", "dev", "debian:12"];

pub fn trials(lima: &Lima) -> Vec<Trial> {
    type Test = fn(&LimaStage) -> Result<()>;
    let on_the_stand_in: [(&str, Test); 10] = [
        ("a_hanging_one_times_out_with_a_reason", hangs),
        ("ctrl_c_ends_a_hanging_one", interrupted),
        ("a_killed_one_is_reported_and_leaves_nothing", dies),
        ("unexpected_output_is_skipped", rubbish),
        ("a_missing_one_is_reported", not_there),
        ("a_lima_home_that_is_too_long_is_refused", too_long),
        (
            "invalid_settings_are_reported_and_removable",
            broken_settings,
        ),
        ("a_machine_deleted_by_limactl_is_not_found", deleted),
        ("a_broken_machine_is_reported_and_fixed", broken),
        ("a_start_that_loses_its_port_is_retried", loses_its_port),
    ];
    let trials = on_the_stand_in
        .into_iter()
        .flat_map(|(name, test)| lima.fake_trial(&format!("bad_limactl::{name}"), test));
    let mut trials: Vec<Trial> = trials.collect();
    trials.extend(lima.root_trial("bad_limactl::root_is_refused_with_the_reason", root));
    trials
}

fn root(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let refused = project.refused(&CREATE, "Lima does not run as root")?;
    ensure!(refused.stderr.contains("without sudo"), "{refused:?}");
    ensure!(!stage.instance("web-dev").exists(), "created");
    Ok(())
}

/// Pid of the last call of this command.
fn call_of(stage: &LimaStage, command: &str) -> Result<u32> {
    let mut found = None;
    stage.until("limactl is called", || {
        let calls = stage.calls()?.into_iter();
        found = calls
            .rev()
            .find(|call| call.args.iter().any(|word| word == command));
        Ok(found.is_some())
    })?;
    Ok(found.context("no call")?.pid)
}

/// A zombie counts as gone.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

fn hangs(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&CREATE)?;
    stage.faults(&["hang list"])?;
    let told = project.run(&["--json", "list"])?;
    let words = "limactl list timed out after 20 s";
    ensure!(format!("{told:?}").contains(words), "{told:?}");
    ensure!(is_gone(call_of(stage, "list")?), "limactl is still running");
    stage.faults(&["hang version"])?;
    project.refused(&["down", "dev"], "limactl --version timed out")?;
    stage.faults(&[])?;
    ensure!(project.status("dev")? == "running", "no longer running");
    Ok(())
}

fn interrupted(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    stage.faults(&["hang create"])?;
    let mut command = project.command(&CREATE);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let limactl = call_of(stage, "create")?;
    let command_pid = Pid::from_raw(child.id().try_into()?).context("no process")?;
    kill_process(command_pid, Signal::INT)?;
    let ended: Ran = child.wait_with_output()?.into();
    ensure!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    ensure!(ended.stderr.contains("cancelled by the user"), "{ended:?}");
    ensure!(is_gone(limactl), "limactl is still running");
    stage.faults(&[])?;
    ensure!(
        stage.ok(&["list", "--quiet"])?.is_empty(),
        "a VM was left behind"
    );
    project.ok(&CREATE)?;
    Ok(())
}

fn dies(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    for fault in ["die create yaml", "die start running"] {
        stage.faults(&[fault])?;
        project.refused(&CREATE, "limactl was killed by signal 9")?;
        stage.faults(&[])?;
        let left = stage.ok(&["list", "--quiet"])?;
        ensure!(left.is_empty(), "{fault}: {left}");
    }
    project.ok(&CREATE)?;
    stage.faults(&["die delete half"])?;
    project.refused(&["remove", "dev", "-f"], "limactl was killed by signal 9")?;
    stage.faults(&[])?;
    project.ok(&["remove", "dev", "-f"])?;
    ensure!(!stage.instance("web-dev").exists(), "not deleted");
    Ok(())
}

fn rubbish(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&CREATE)?;
    stage.faults(&[
        "rubbish list",
        "warn list",
        "rubbish version",
        "warn version",
    ])?;
    ensure!(project.status("dev")? == "running", "not running");
    project.ok(&["down", "dev"])?;
    ensure!(project.status("dev")? == "stopped", "not stopped");
    Ok(())
}

fn not_there(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let limactl = stage.path("no/limactl");
    let ran: Ran = project
        .command(&CREATE)
        .env("LIMACTL", &limactl)
        .output()?
        .into();
    ensure!(ran.code == Some(3), "{ran:?}");
    ensure!(
        ran.stderr.contains(limactl.to_str().context("odd")?),
        "{ran:?}"
    );
    ensure!(ran.stderr.contains("brew install lima"), "{ran:?}");
    let ran: Ran = project
        .command(&["doctor"])
        .env("LIMACTL", &limactl)
        .output()?
        .into();
    ensure!(ran.stdout.contains("brew install lima"), "{ran:?}");
    Ok(())
}

fn too_long(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let home = stage.path(&"l".repeat(80));
    fs::create_dir(&home)?;
    let ran: Ran = project
        .command(&CREATE)
        .env("LIMA_HOME", &home)
        .output()?
        .into();
    ensure!(ran.code == Some(1), "{ran:?}");
    ensure!(
        ran.stderr.contains("set LIMA_HOME to a shorter path"),
        "{ran:?}"
    );
    let calls = stage.calls()?;
    let created = calls
        .iter()
        .any(|call| call.args.iter().any(|word| word == "create"));
    ensure!(!created, "limactl was called");
    Ok(())
}

fn broken_settings(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&CREATE)?;
    let machine = stage.instance("web-dev");
    let yaml = machine.join("lima.yaml");
    let good = fs::read_to_string(&yaml)?;
    let agent: u32 = fs::read_to_string(machine.join("ha.pid"))?.trim().parse()?;
    fs::write(&yaml, "cpus: [\n")?;
    ensure!(
        project.status("dev")? == "error",
        "no error for an invalid lima.yaml"
    );
    fs::write(&yaml, b"cpus: \xff\n")?;
    ensure!(
        project.status("dev")? == "error",
        "no error for a binary lima.yaml"
    );
    fs::set_permissions(&yaml, fs::Permissions::from_mode(0o0))?;
    ensure!(
        project.status("dev")? == "error",
        "no error for an unreadable lima.yaml"
    );
    fs::set_permissions(&yaml, fs::Permissions::from_mode(0o600))?;
    fs::write(&yaml, "cpus: [\n")?;
    // Lima finds no processes of an instance with invalid settings.
    project.ok(&["remove", "dev", "-f"])?;
    ensure!(is_gone(agent), "the host agent is still running");
    ensure!(!machine.exists(), "not deleted");

    project.ok(&CREATE)?;
    project.ok(&["down", "dev"])?;
    fs::write(&yaml, "cpus: [\n")?;
    let refused = project.refused(&["up", "dev"], "Lima: ")?;
    ensure!(refused.stderr.contains("lima.yaml"), "{refused:?}");
    fs::write(&yaml, good)?;
    project.ok(&["up", "dev"])?;
    Ok(())
}

fn deleted(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&CREATE)?;
    stage.ok(&["delete", "-f", "web-dev"])?;
    ensure!(project.status("dev")? == "not-found", "still listed");
    project.refused(&["exec", "dev", "true"], "no engine has `web-dev`")?;
    project.ok(&["remove", "dev", "-f"])?;
    project.ok(&CREATE)?;
    Ok(())
}

fn broken(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&CREATE)?;
    let agent = fs::read_to_string(stage.instance("web-dev").join("ha.pid"))?;
    let agent = Pid::from_raw(agent.trim().parse()?).context("no agent")?;
    kill_process(agent, Signal::KILL)?;
    stage.until(
        "its agent is gone",
        || Ok(project.status("dev")? == "error"),
    )?;
    let told = project.run(&["doctor"])?;
    ensure!(
        told.stdout.contains("one of its processes was killed"),
        "{told:?}"
    );
    project.ok(&["up", "dev"])?;
    ensure!(project.status("dev")? == "running", "not repaired");
    Ok(())
}

fn loses_its_port(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&CREATE)?;
    project.ok(&["down", "dev"])?;
    let starts = || stage.called("start");
    let before = starts()?;
    stage.faults(&["taken port 2"])?;
    project.ok(&["up", "dev"])?;
    ensure!(project.status("dev")? == "running", "not running");
    ensure!(starts()? == before + 3, "{} starts", starts()? - before);

    // The number of retries is limited.
    project.ok(&["down", "dev"])?;
    stage.faults(&["taken port 99"])?;
    let before = starts()?;
    let words = "Could not set up host forwarding rule";
    project.refused(&["up", "dev"], words)?;
    ensure!(starts()? == before + 3, "{} starts", starts()? - before);
    ensure!(project.status("dev")? == "stopped", "partially started");
    stage.faults(&[])?;
    project.ok(&["up", "dev"]).map(drop)
}
