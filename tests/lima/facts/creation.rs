//! `create`.

use std::fs;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;

fn create(name: &str) -> [String; 3] {
    [
        "create".into(),
        "--tty=false".into(),
        format!("--name={name}"),
    ]
}

/// A create of this yaml that has to fail, and leave nothing.
fn refused(stage: &LimaStage, more: &str, words: &str) -> Result<()> {
    let yaml = stage.yaml(more)?.to_string_lossy().into_owned();
    stage.refused(&[create("a").as_slice(), &[yaml]].concat(), words)?;
    ensure!(!stage.instance("a").exists(), "{more}");
    Ok(())
}

pub fn new_instance_is_stopped(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    ensure!(stage.status("a")? == "Stopped");
    for file in ["lima.yaml", "lima-version", "disk"] {
        ensure!(stage.instance("a").join(file).exists(), "{file}");
    }
    Ok(())
}

pub fn used_name_is_refused(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    let yaml = stage.yaml("")?.to_string_lossy().into_owned();
    stage.refused(
        &[create("a").as_slice(), &[yaml]].concat(),
        "already exists",
    )?;
    stage.refused(&["create", "--tty=false", "a"], "already exists")?;
    Ok(())
}

pub fn bad_names_are_refused(stage: &LimaStage) -> Result<()> {
    let yaml = stage.yaml("")?.to_string_lossy().into_owned();
    for bad in ["a b", "-a", "a--b", "a_", "../a", "a/b"] {
        let args = [create(bad).as_slice(), std::slice::from_ref(&yaml)].concat();
        stage.refused(&args, "is not a valid identifier")?;
    }
    let args = [create("a.yaml").as_slice(), &[yaml]].concat();
    stage.refused(&args, "must not end with .yml or .yaml suffix")?;
    Ok(())
}

pub fn names_are_as_long_as_sockets_allow(stage: &LimaStage) -> Result<()> {
    // On Linux: home and name are 80 together, and a name alone is 76.
    let room = 80usize.saturating_sub(stage.lima_home().canonicalize()?.as_os_str().len());
    let room = room.min(76);
    let long = "a".repeat(room + 1);
    let yaml = stage.yaml("")?.to_string_lossy().into_owned();
    let output = stage.call(&[create(&long).as_slice(), std::slice::from_ref(&yaml)].concat())?;
    ensure!(
        output.code == 1 && !stage.instance(&long).exists(),
        "{output:?}"
    );
    let fits = "a".repeat(room);
    stage.ok(&[create(&fits).as_slice(), &[yaml]].concat())?;
    Ok(())
}

pub fn bad_yaml_is_refused_and_leaves_nothing(stage: &LimaStage) -> Result<()> {
    refused(stage, "networks: [\n", "failed to unmarshal YAML")?;
    refused(stage, "provision: many\n", "failed to unmarshal YAML")?;
    refused(
        stage,
        "timezone: UTC\nos: Plan9\n",
        "field `os` must be one of",
    )?;
    refused(
        stage,
        "provision:\n- mode: sometimes\n  script: 'true'\n",
        "field `provision[0].mode` must one of",
    )?;
    refused(
        stage,
        "provision:\n- mode: system\n",
        "field `provision[0].script` must not be empty",
    )
}

pub fn unknown_fields_are_warned_of(stage: &LimaStage) -> Result<()> {
    let yaml = stage.yaml("colour: red\n")?.to_string_lossy().into_owned();
    let output = stage.call(&[create("a").as_slice(), &[yaml]].concat())?;
    ensure!(
        output.stderr.contains("Non-strict YAML detected"),
        "{output:?}"
    );
    Ok(())
}

pub fn a_newer_minimum_version_is_refused(stage: &LimaStage) -> Result<()> {
    refused(
        stage,
        "minimumLimaVersion: 99.0.0\n",
        "template requires Lima version `99.0.0`",
    )
}

pub fn keys_are_created_once(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    let key = stage.lima_home().join("_config/user.pub");
    let first = fs::read_to_string(&key)?;
    ensure!(
        first.starts_with("ssh-ed25519 ") && first.trim_end().ends_with(" lima"),
        "{first}"
    );
    stage.create("b", "")?;
    ensure!(fs::read_to_string(&key)? == first);
    Ok(())
}
