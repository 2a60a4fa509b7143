//! `--version` and `list --json`.

use std::fs;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;

pub fn the_version_is_a_line(stage: &LimaStage) -> Result<()> {
    let text = stage.ok(&["--version"])?;
    let version = text.trim_end().strip_prefix("limactl version ");
    ensure!(version.is_some_and(|v| v.starts_with("2.")), "{text:?}");
    ensure!(text.lines().count() == 1, "{text:?}");
    Ok(())
}

pub fn an_empty_list_is_nothing_and_a_warning(stage: &LimaStage) -> Result<()> {
    let output = stage.call(&["list", "--json"])?;
    ensure!(output.code == 0 && output.stdout.is_empty(), "{output:?}");
    ensure!(output.stderr.contains("No instance found"), "{output:?}");
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
