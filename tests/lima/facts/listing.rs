//! `list --json`.

use std::fs;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;
use serde_json::json;

pub fn an_empty_list_is_nothing_and_a_warning(stage: &LimaStage) -> Result<()> {
    let output = stage.call(&["list", "--json"])?;
    ensure!(output.code == 0 && output.stdout.is_empty(), "{output:?}");
    ensure!(output.stderr.contains("No instance found"), "{output:?}");
    Ok(())
}

pub fn an_unknown_name_fails_after_the_known_ones(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    let output = stage.refused(&["list", "--json", "zz", "a"], "unmatched instances")?;
    ensure!(output.stdout.lines().count() == 1, "{output:?}");
    ensure!(output.stdout.contains("\"name\":\"a\""), "{output:?}");
    ensure!(
        output.stderr.contains("No instance matching zz found"),
        "{output:?}"
    );
    Ok(())
}

pub fn fields_that_are_zero_are_left_out(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    let listed = stage.listed("a")?;
    for (key, value) in [
        ("hostname", json!("lima-a")),
        ("status", json!("Stopped")),
        ("dir", json!(stage.instance("a").canonicalize()?)),
        ("protected", json!(false)),
        ("cpus", json!(1)),
        ("memory", json!(1u64 << 30)),
        ("disk", json!(5u64 << 30)),
        ("LimaHome", json!(stage.lima_home().canonicalize()?)),
    ] {
        ensure!(listed[key] == value, "{key}: {listed}");
    }
    let map = listed.as_object().context("an object")?;
    for key in [
        "sshLocalPort",
        "hostAgentPID",
        "driverPID",
        "errors",
        "message",
        "network",
        "param",
    ] {
        ensure!(!map.contains_key(key), "{key}: {listed}");
    }
    Ok(())
}

pub fn a_broken_yaml_has_no_status(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    fs::write(stage.instance("a").join("lima.yaml"), "cpus: [\n")?;
    let output = stage.call(&["list", "--json"])?;
    ensure!(output.code == 0, "{output:?}");
    let listed = stage.listed("a")?;
    ensure!(listed["status"] == "", "{listed}");
    ensure!(listed.get("cpus").is_none(), "{listed}");
    ensure!(output.stderr.contains("has errors"), "{output:?}");
    Ok(())
}

pub fn hidden_directories_are_no_instances(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    for name in [".snapshots", "_other"] {
        fs::create_dir_all(stage.instance(name))?;
    }
    ensure!(stage.list()?.len() == 1);
    Ok(())
}
