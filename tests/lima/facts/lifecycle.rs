//! `start`, `stop`, `delete`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lxc_dev_manager_tests::lima::LimaStage;
use rustix::process::{Pid, Signal, kill_process};

fn pid(listed: &serde_json::Value, key: &str) -> Result<i32> {
    let pid = listed[key]
        .as_i64()
        .with_context(|| format!("{key}: {listed}"))?;
    Ok(i32::try_from(pid)?)
}

fn kill(pid: i32) -> Result<()> {
    kill_process(Pid::from_raw(pid).context("no pid")?, Signal::KILL)?;
    Ok(())
}

/// A zombie has ended.
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

pub fn a_start_ends_when_it_runs(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    let output = stage.call(&["start", "--tty=false", "a"])?;
    ensure!(output.code == 0 && output.stdout.is_empty(), "{output:?}");
    ensure!(
        output
            .stderr
            .contains("READY. Run `limactl shell a` to open the shell."),
        "{output:?}"
    );
    let listed = stage.listed("a")?;
    ensure!(listed["status"] == "Running", "{listed}");
    ensure!(
        listed["sshLocalPort"].as_u64().is_some_and(|port| port > 0),
        "{listed}"
    );
    for (file, key) in [("ha.pid", "hostAgentPID"), ("qemu.pid", "driverPID")] {
        let text = fs::read_to_string(stage.instance("a").join(file))?;
        ensure!(
            text.trim().parse() == Ok(pid(&listed, key)?),
            "{file}: {text:?} {listed}"
        );
    }
    for file in [
        "ssh.config",
        "ha.sock",
        "ha.stdout.log",
        "ha.stderr.log",
        "serial.log",
    ] {
        ensure!(stage.instance("a").join(file).exists(), "{file}");
    }
    Ok(())
}

pub fn a_start_shows_broken_for_a_moment(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    let mut start = stage.command(&["start", "--tty=false", "a"]).spawn()?;
    let mut first: Option<Instant> = None;
    let mut seen = Duration::ZERO;
    loop {
        match stage.status("a")?.as_str() {
            "Broken" => seen = first.get_or_insert_with(Instant::now).elapsed(),
            "Running" => break,
            _ => {}
        }
        if let Some(status) = start.try_wait()? {
            ensure!(status.success(), "{status}");
        }
    }
    ensure!(start.wait()?.success());
    ensure!(first.is_some(), "never broken");
    ensure!(seen < Duration::from_secs(5), "broken for {seen:?}");
    Ok(())
}

pub fn starting_twice_is_no_error(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    let output = stage.call(&["start", "--tty=false", "a"])?;
    ensure!(output.code == 0, "{output:?}");
    ensure!(output.stderr.contains("is already running"), "{output:?}");
    Ok(())
}

pub fn stopping_a_stopped_instance_is_refused(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    stage.refused(&["stop", "a"], "expected status `Running`, got `Stopped`")?;
    stage.refused(&["stop", "zz"], "lima.yaml: no such file or directory")?;
    stage.ok(&["stop", "-f", "a"])?;
    Ok(())
}

pub fn a_stopped_one_keeps_its_port_in_the_list(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    let running = stage.listed("a")?;
    stage.ok(&["stop", "a"])?;
    let stopped = stage.listed("a")?;
    ensure!(stopped["status"] == "Stopped", "{stopped}");
    ensure!(
        stopped["sshLocalPort"] == running["sshLocalPort"],
        "{stopped}"
    );
    ensure!(
        stopped.get("hostAgentPID").is_none() && stopped.get("driverPID").is_none(),
        "{stopped}"
    );
    Ok(())
}

pub fn a_killed_agent_leaves_it_broken_until_a_forced_stop(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    kill(pid(&stage.listed("a")?, "hostAgentPID")?)?;
    stage.until("it is broken", || Ok(stage.status("a")? == "Broken"))?;
    stage.refused(&["stop", "a"], "expected status `Running`, got `Broken`")?;
    stage.ok(&["stop", "-f", "a"])?;
    ensure!(stage.status("a")? == "Stopped");
    stage.ok(&["start", "--tty=false", "a"])?;
    ensure!(stage.run("a", &["true"]).is_ok());
    Ok(())
}

pub fn a_running_one_is_not_deleted(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    stage.refused(&["delete", "a"], "expected status `Stopped`, got `Running`")?;
    ensure!(stage.status("a")? == "Running");
    stage.ok(&["delete", "-f", "a"])?;
    ensure!(!stage.instance("a").exists());
    Ok(())
}

pub fn deleting_a_missing_instance_is_a_success(stage: &LimaStage) -> Result<()> {
    let output = stage.call(&["delete", "-f", "zz"])?;
    ensure!(output.code == 0, "{output:?}");
    ensure!(
        output
            .stderr
            .contains("Ignoring non-existent instance `zz`"),
        "{output:?}"
    );
    Ok(())
}

pub fn a_directory_without_yaml_is_broken_and_not_deleted(stage: &LimaStage) -> Result<()> {
    fs::create_dir_all(stage.instance("half"))?;
    ensure!(stage.status("half")? == "Broken");
    stage.refused(&["delete", "-f", "half"], "it was NOT deleted")?;
    ensure!(stage.instance("half").is_dir());
    Ok(())
}

pub fn nothing_outlives_a_stop_or_a_delete(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    stage.run("a", &["sh", "-c", "nohup sleep 1000 >/dev/null 2>&1 &"])?;
    for end in [&["stop", "a"][..], &["delete", "-f", "a"]] {
        let before = family(&stage.lima_home(), &stage.listed("a")?)?;
        ensure!(before.len() > 2, "{before:?}");
        stage.ok(end)?;
        // The shared SSH connection ends a moment later.
        stage.until("all have ended", || {
            Ok(!before.iter().any(|&pid| lives(pid)))
        })?;
        if end[0] == "stop" {
            stage.ok(&["start", "--tty=false", "a"])?;
        }
    }
    Ok(())
}

/// The agent, the driver, what they have started, and everything in the guest.
fn family(home: &Path, listed: &serde_json::Value) -> Result<Vec<i32>> {
    let mut all = vec![pid(listed, "hostAgentPID")?, pid(listed, "driverPID")?];
    let home = home.to_string_lossy().into_owned();
    let mut added = true;
    while added {
        added = false;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(") ")
                .next()
                .and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let is_member =
                parent.is_some_and(|parent| all.contains(&parent)) || line.contains(&home);
            if is_member && id != i32::try_from(std::process::id())? && !all.contains(&id) {
                all.push(id);
                added = true;
            }
        }
    }
    Ok(all)
}

pub fn slow_start_leaves_the_machine_running(stage: &LimaStage) -> Result<()> {
    let slow = "provision:\n- mode: system\n  script: |\n    #!/bin/sh\n    while [ ! -e /go ]; do sleep 0.1; done\n";
    stage.create("a", slow)?;
    let output = stage.call(&["start", "--tty=false", "--timeout=4s", "a"])?;
    ensure!(output.code == 1, "{output:?}");
    if stage.status("a")? != "Running" {
        bail!("{}", stage.status("a")?);
    }
    stage.run("a", &["sudo", "touch", "/go"])?;
    stage.until("it says that it runs", || {
        Ok(stage
            .events("a")?
            .iter()
            .any(|event| event["status"]["running"] == true))
    })
}
