//! What the stand-in can be told to do wrong.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;
use rustix::process::{Pid, Signal, kill_process};

pub fn it_says_to_be_another_version(stage: &LimaStage) -> Result<()> {
    stage.faults(&["version 1.0.0"])?;
    ensure!(stage.ok(&["--version"])? == "limactl version 1.0.0\n");
    stage.create("a", "")?;
    ensure!(stage.listed("a")?["limaVersion"] == "1.0.0");
    Ok(())
}

pub fn it_hangs_and_dies_where_told(stage: &LimaStage) -> Result<()> {
    stage.faults(&["die create yaml", "hang list"])?;
    let yaml = stage.yaml("")?.to_string_lossy().into_owned();
    let output = stage.call(&["create", "--tty=false", "--name=a", &yaml])?;
    ensure!(output.code == -1, "{output:?}");
    ensure!(stage.instance("a").join("lima.yaml").exists());
    ensure!(!stage.instance("a").join("disk").exists());
    let mut list = stage.command(&["list"]).stdout(Stdio::null()).spawn()?;
    stage.until("the call is written down", || {
        Ok(stage.calls()?.iter().any(|call| call.args == ["list"]))
    })?;
    ensure!(list.try_wait()?.is_none());
    list.kill()?;
    list.wait()?;
    stage.faults(&[])?;
    stage.ok(&["delete", "-f", "a"])?;
    Ok(())
}

pub fn it_writes_rubbish_and_warnings_first(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    stage.faults(&["rubbish list", "warn list"])?;
    let text = stage.ok(&["list", "--json"])?;
    let good = text
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    ensure!(text.lines().count() == 3 && good.count() == 1, "{text}");
    Ok(())
}

pub fn a_full_disk_leaves_the_instance_behind(stage: &LimaStage) -> Result<()> {
    stage.faults(&["full create"])?;
    let yaml = stage.yaml("")?.to_string_lossy().into_owned();
    stage.refused(
        &["create", "--tty=false", "--name=a", &yaml],
        "no space left on device",
    )?;
    ensure!(stage.instance("a").join("lima.yaml").exists());
    stage.ok(&["delete", "-f", "a"])?;
    ensure!(!stage.instance("a").exists());
    Ok(())
}

pub fn a_killed_pack_leaves_the_old_disk(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    stage.run("a", &["sh", "-c", "echo 1 >~/file"])?;
    stage.faults(&["die stop packed"])?;
    let output = stage.call(&["stop", "a"])?;
    ensure!(stage.status("a")? == "Stopped", "{output:?}");
    stage.faults(&[])?;
    stage.ok(&["start", "--tty=false", "a"])?;
    ensure!(stage.run("a", &["sh", "-c", "cat ~/file"]).is_err());
    Ok(())
}

pub fn a_power_cut_loses_what_was_not_packed(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    stage.run("a", &["sh", "-c", "echo 1 >~/file"])?;
    let driver = stage.listed("a")?["driverPID"]
        .as_i64()
        .context("no driver")?;
    let driver = Pid::from_raw(i32::try_from(driver)?).context("no driver")?;
    kill_process(driver, Signal::KILL)?;
    stage.until("it is stopped", || Ok(stage.status("a")? == "Stopped"))?;
    stage.ok(&["start", "--tty=false", "a"])?;
    ensure!(stage.run("a", &["sh", "-c", "cat ~/file"]).is_err());
    Ok(())
}

pub fn calls_are_written_down(stage: &LimaStage) -> Result<()> {
    stage.call(&["list", "--json", "a b"])?;
    let calls = stage.calls()?;
    let call = calls.last().context("no call")?;
    ensure!(call.args == ["list", "--json", "a b"], "{call:?}");
    ensure!(call.cwd == fs::canonicalize(stage.path("cwd"))?, "{call:?}");
    ensure!(
        call.env.get("LIMA_HOME").map(String::as_str) == stage.lima_home().to_str(),
        "{call:?}"
    );
    ensure!(!call.env.contains_key("XPC_SERVICE_NAME"), "{call:?}");
    Ok(())
}
