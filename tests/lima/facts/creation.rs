//! `create`, and `start` of what isn't there.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
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

pub fn an_instance_is_made_stopped(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    ensure!(stage.status("a")? == "Stopped");
    for file in ["lima.yaml", "lima-version", "disk"] {
        ensure!(stage.instance("a").join(file).exists(), "{file}");
    }
    let size = fs::metadata(stage.instance("a").join("disk"))?.len();
    // Of qemu's own format it is smaller.
    ensure!(size == 5 << 30 || !stage.is_fake(), "{size}");
    Ok(())
}

pub fn a_name_that_is_taken_is_refused(stage: &LimaStage) -> Result<()> {
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

pub fn an_unused_param_is_refused(stage: &LimaStage) -> Result<()> {
    refused(stage, "param: {Lonely: x}\n", "`Lonely` is not used")?;
    let used = "param: {Used: x}\nprovision:\n- mode: system\n  script: |\n    #!/bin/sh\n    echo \"$PARAM_Used\"\n";
    stage.create("a", used)
}

pub fn a_template_comes_by_stdin_too(stage: &LimaStage) -> Result<()> {
    let text = fs::read(stage.yaml("")?)?;
    let mut child = stage
        .command(&["create", "--tty=false", "--name=a", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no stdin")?.write_all(&text)?;
    ensure!(child.wait()?.success());
    ensure!(stage.status("a")? == "Stopped");
    stage.refused(
        &["create", "--tty=false", "-"],
        "must pass instance name with --name",
    )?;
    Ok(())
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

/// The real one goes on after its warning.
pub fn unknown_fields_are_refused(stage: &LimaStage) -> Result<()> {
    refused(stage, "colour: red\n", "unknown field")?;
    refused(stage, "ssh: {port: 22}\n", "ssh.port")?;
    let yaml = stage.yaml("colour: red\n")?.to_string_lossy().into_owned();
    stage.refused(&["validate", &yaml], "unknown field")?;
    Ok(())
}

pub fn a_newer_minimum_version_is_refused(stage: &LimaStage) -> Result<()> {
    refused(
        stage,
        "minimumLimaVersion: 99.0.0\n",
        "template requires Lima version `99.0.0`",
    )
}

pub fn keys_are_made_once(stage: &LimaStage) -> Result<()> {
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

pub fn an_image_of_another_architecture_is_refused(stage: &LimaStage) -> Result<()> {
    let text = fs::read_to_string(stage.yaml("")?)?;
    let other = text.replace(
        &format!("arch: {}", std::env::consts::ARCH),
        "arch: riscv64",
    );
    let path = stage.path("other.yaml");
    fs::write(&path, other)?;
    let args = [
        create("a").as_slice(),
        &[path.to_string_lossy().into_owned()],
    ]
    .concat();
    stage.refused(&args, "unsupported arch")?;
    // So far it had come: a create isn't all or nothing.
    ensure!(stage.instance("a").join("lima.yaml").exists());
    stage.ok(&["delete", "-f", "a"])?;
    Ok(())
}

pub fn nothing_is_downloaded(stage: &LimaStage) -> Result<()> {
    let path = stage.path("web.yaml");
    let arch = std::env::consts::ARCH;
    fs::write(
        &path,
        format!("images: [{{location: \"https://example.invalid/i.img\", arch: {arch}}}]\n"),
    )?;
    let args = [
        create("a").as_slice(),
        &[path.to_string_lossy().into_owned()],
    ]
    .concat();
    stage.refused(&args, "failed to download `https://example.invalid/i.img`")?;
    Ok(())
}

pub fn start_makes_what_is_unknown(stage: &LimaStage) -> Result<()> {
    fs::copy(
        stage.yaml("")?,
        stage.lima_home().join(".fake/default.yaml"),
    )?;
    let output = stage.call(&["start", "--tty=false", "surprise"])?;
    ensure!(output.code == 0, "{output:?}");
    ensure!(
        output.stderr.contains("Creating an instance `surprise`"),
        "{output:?}"
    );
    ensure!(stage.status("surprise")? == "Running");
    Ok(())
}
