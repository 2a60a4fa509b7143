//! The disk of our state is full.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

/// A small file system, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m,mode=700", "none"]);
        ensure!(mount.arg(&path).status()?.success(), "cannot mount a tmpfs");
        Ok(Self(path))
    }

    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join("big"))?;
        while file.write_all(&[7; 4096]).is_ok() {}
        ensure!(
            fs::write(self.0.join("more"), [7; 4096]).is_err(),
            "there is room"
        );
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A test that fails here has failed before.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

pub fn full_state_disk_stops_neither_removal_nor_gc(engine: &TestEngine) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "needs root, for a mount"
    );
    let workspace = Workspace::bare(engine)?;
    let disk = SmallDisk::mount(workspace.home())?;
    workspace.ok(&["create", "-n", &workspace.project, "-p", "8000"])?;
    for env in ["a", "b"] {
        workspace.create(env)?;
    }
    disk.fill()?;
    workspace.ok(&["exec", "a", "--", "true"])?;
    workspace.ok(&["remove", "-f", "a"])?;
    workspace.ok(&["undo", "a"])?;
    workspace.ok(&["remove", "-f", "a"])?;
    workspace.ok(&["remove", "-f", "b"])?;
    ensure!(
        workspace.instances()?.len() == 2,
        "the undo copies are gone"
    );
    workspace.ok(&["gc", "--all", "-f"])?;
    ensure!(
        workspace.instances()?.is_empty(),
        "gc left {:?}",
        workspace.instances()?
    );
    // With room again, the reserve comes back.
    fs::remove_file(workspace.home().join("big"))?;
    workspace.create("c")?;
    let reserve = workspace.home().join("reserve");
    fs::metadata(reserve).context("no reserve")?;
    Ok(())
}
