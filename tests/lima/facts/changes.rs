//! Changes of an instance: size of the disk, `clone`, `rename`, `protect`.

use std::fs;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;

pub fn a_disk_grows_and_does_not_shrink(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    stage.refused(
        &["edit", "--tty=false", "--disk=4", "a"],
        "shrinking the disk (5GiB --> 4GiB) is not supported",
    )?;
    stage.ok(&["edit", "--tty=false", "--disk=6", "a"])?;
    stage.ok(&["start", "--tty=false", "a"])?;
    ensure!(stage.listed("a")?["disk"] == 6u64 << 30);
    stage.ok(&["stop", "a"])?;
    // By hand, past the edit's own check.
    let path = stage.instance("a").join("lima.yaml");
    let text = fs::read_to_string(&path)?.replace("6GiB", "5GiB");
    fs::write(&path, text)?;
    stage.refused(
        &["start", "--tty=false", "a"],
        "disk shrinking is not supported",
    )?;
    Ok(())
}

pub fn a_clone_has_the_files_and_no_pids(stage: &LimaStage) -> Result<()> {
    stage.running("a", "")?;
    stage.run("a", &["sh", "-c", "echo one >~/file && sync"])?;
    stage.ok(&["stop", "a"])?;
    stage.ok(&["protect", "a"])?;
    stage.ok(&["clone", "--tty=false", "a", "b"])?;
    ensure!(stage.status("b")? == "Stopped");
    let dir = stage.instance("b");
    // An old port and old logs, until its first start.
    for there in [
        "disk",
        "lima.yaml",
        "lima-version",
        "ssh.config",
        "ha.stdout.log",
    ] {
        ensure!(dir.join(there).exists(), "{there}");
    }
    for absent in ["protected", "ha.pid", "qemu.pid", "ha.sock"] {
        ensure!(!dir.join(absent).exists(), "{absent}");
    }
    stage.ok(&["start", "--tty=false", "b"])?;
    ensure!(stage.run("b", &["sh", "-c", "cat ~/file; hostname"])? == "one\nlima-b\n");
    stage.refused(&["clone", "--tty=false", "a", "b"], "already exists")?;
    stage.refused(
        &["clone", "--tty=false", "zz", "c"],
        "instance `zz` not found",
    )?;
    Ok(())
}

pub fn a_rename_forgets_the_protection(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    stage.ok(&["protect", "a"])?;
    stage.ok(&["rename", "--tty=false", "a", "b"])?;
    ensure!(!stage.instance("a").exists());
    let listed = stage.listed("b")?;
    ensure!(
        listed["protected"] == false && listed["hostname"] == "lima-b",
        "{listed}"
    );
    Ok(())
}

pub fn a_protected_one_is_not_deleted(stage: &LimaStage) -> Result<()> {
    stage.create("a", "")?;
    stage.ok(&["protect", "a"])?;
    ensure!(stage.listed("a")?["protected"] == true);
    stage.refused(
        &["delete", "-f", "a"],
        "protected to prohibit accidental removal",
    )?;
    stage.ok(&["unprotect", "a"])?;
    stage.ok(&["delete", "a"])?;
    ensure!(!stage.instance("a").exists());
    Ok(())
}
