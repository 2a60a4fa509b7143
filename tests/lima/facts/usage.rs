//! The command line itself.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;

pub fn the_version_is_a_line(stage: &LimaStage) -> Result<()> {
    let text = stage.ok(&["--version"])?;
    let version = text.trim_end().strip_prefix("limactl version ");
    ensure!(version.is_some_and(|v| v.starts_with("2.")), "{text:?}");
    ensure!(text.lines().count() == 1, "{text:?}");
    Ok(())
}

pub fn an_unknown_command_or_flag_is_refused(stage: &LimaStage) -> Result<()> {
    let output = stage.refused(&["nonsense"], "unknown command")?;
    ensure!(output.stdout.is_empty(), "{output:?}");
    ensure!(output.stderr.contains("level=fatal"), "{output:?}");
    stage.refused(&["list", "--nonsense"], "unknown flag: --nonsense")?;
    stage.refused(&["list", "-Z"], "unknown shorthand flag: 'Z' in -Z")?;
    stage.refused(&["start", "--timeout"], "flag needs an argument: --timeout")?;
    stage.refused(&["edit", "--cpus=two", "x"], "invalid argument")?;
    Ok(())
}

pub fn the_number_of_arguments_is_checked(stage: &LimaStage) -> Result<()> {
    stage.refused(&["delete"], "requires at least 1 arg(s), only received 0")?;
    stage.refused(&["clone", "a"], "accepts 2 arg(s), received 1")?;
    stage.refused(
        &["create", "a", "b"],
        "accepts at most 1 arg(s), received 2",
    )?;
    Ok(())
}

pub fn tty_and_yes_exclude_each_other(stage: &LimaStage) -> Result<()> {
    stage.refused(
        &["list", "--tty=false", "--yes"],
        "cannot use both --tty and --yes",
    )?;
    Ok(())
}
