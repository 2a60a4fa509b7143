//! The disk: a tar of the guest's root in a sparse file with the size of lima.yaml.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::faults::Faults;
use crate::namespace;
use crate::yaml::{User, Yaml};

/// Creates the disk from the first image, if missing.
pub(crate) fn create(yaml: &Yaml, dir: &Path, faults: &Faults) -> Result<()> {
    if dir.join("disk").exists() {
        return Ok(());
    }
    let image = yaml.images.first().context("no image")?;
    let temporary = dir.join("disk.tmp");
    faults.disk("create", &temporary)?;
    let output = Command::new("cp")
        .args(["--sparse=auto", "--reflink=auto", "--"])
        .args([&image.location, &temporary])
        .output()?;
    ensure!(output.status.success(), "{}", stderr(&output));
    faults.point("create", "image");
    fs::rename(temporary, dir.join("disk"))?;
    Ok(())
}

/// Grows the disk to the size in lima.yaml; it cannot shrink.
pub(crate) fn grow(yaml: &Yaml, dir: &Path) -> Result<()> {
    let disk = OpenOptions::new().write(true).open(dir.join("disk"))?;
    let (size, wanted) = (disk.metadata()?.len(), yaml.disk_bytes()?);
    ensure!(wanted >= size, "disk shrinking is not supported");
    if wanted > size {
        disk.set_len(wanted)?;
    }
    Ok(())
}

/// Packs the guest's root into a new disk and renames that over the old one. For `freeze` the guest is running, and
/// files may change meanwhile.
pub(crate) fn pack(
    user: &User,
    root: &Path,
    dir: &Path,
    faults: &Faults,
    command: &str,
) -> Result<()> {
    let disk = dir.join("disk");
    let size = fs::metadata(&disk)?.len();
    let temporary = dir.join("disk.pack.tmp");
    faults.point(command, "before-pack");
    faults.disk(command, &temporary)?;
    let file = File::create(&temporary)?;
    let output = namespace::as_guest_root(user)
        .args(["tar", "--numeric-owner", "--warning=no-file-ignored", "-C"])
        .arg(root)
        .args(["-cf", "-", "."])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(Stdio::piped())
        .output()
        .context("cannot run tar")?;
    // tar's exit code for changed files.
    let has_changed = command == "freeze" && output.status.code() == Some(1);
    if !output.status.success() && !has_changed {
        bail!("cannot pack the root: {}", stderr(&output));
    }
    ensure!(file.metadata()?.len() <= size, "no space left on device");
    file.set_len(size)?;
    file.sync_all()?;
    faults.point(command, "packed");
    fs::rename(&temporary, &disk)?;
    Ok(())
}

/// Deletes the guest's root, which belongs to subordinate IDs.
pub(crate) fn remove_scratch(user: &User, scratch: &Path) -> Result<()> {
    if !scratch.exists() {
        return Ok(());
    }
    namespace::end_guest(scratch);
    let output = namespace::as_guest_root(user)
        .args(["rm", "-rf", "--"])
        .arg(scratch)
        .output()?;
    ensure!(!scratch.exists(), "{}", stderr(&output));
    Ok(())
}

pub(crate) fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
