//! The "disk": a tar of the guest's root at the beginning of a sparse file, as long as the yaml says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::faults::Faults;
use crate::log::{self, quoted};
use crate::namespace;
use crate::yaml::{Image, User, Yaml};

/// Makes the disk from the first image whose architecture fits.
pub(crate) fn create(yaml: &Yaml, dir: &Path, faults: &Faults) -> Result<()> {
    let disk = dir.join("disk");
    if disk.exists() {
        return Ok(());
    }
    if yaml.images.is_empty() {
        bail!(
            "no images are configured (did you set --image-variant or --arch-variant to a value not present in the template?)"
        );
    }
    let mut errors = Vec::new();
    for image in &yaml.images {
        if image.arch != yaml.arch {
            continue;
        }
        match from_image(image, &disk, faults) {
            Ok(()) => return Ok(()),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if errors.is_empty() {
        bail!("[unsupported arch: no image for {}]", quoted(&yaml.arch));
    }
    bail!(errors.join("\n"))
}

fn from_image(image: &Image, disk: &Path, faults: &Faults) -> Result<()> {
    log::info(format!(
        "Attempting to download the image {}",
        quoted(&image.location)
    ));
    let failed = || format!("failed to download {}", quoted(&image.location));
    let local = image
        .location
        .strip_prefix("file://")
        .unwrap_or(&image.location);
    if local.contains("://") {
        return Err(anyhow!("the stand-in of the tests downloads nothing")).with_context(failed);
    }
    let source = match local.strip_prefix("~/") {
        Some(rest) => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(rest),
        None => PathBuf::from(local),
    };
    let mut file = File::open(&source)
        .with_context(|| format!("stat {}", source.display()))
        .with_context(failed)?;
    if let Some(digest) = image
        .digest
        .as_deref()
        .and_then(|d| d.strip_prefix("sha256:"))
    {
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash)?;
        let found = hex(&hash.finalize());
        if found != digest {
            bail!(
                "expected digest of {} to be \"sha256:{digest}\", got \"sha256:{found}\"",
                quoted(local)
            );
        }
    }
    check_format(&mut file, &source).with_context(failed)?;
    let temporary = disk.with_extension("tmp");
    faults.disk("create", &temporary)?;
    copy_sparse(&mut file, &temporary)?;
    faults.point("create", "image");
    std::fs::rename(&temporary, disk)?;
    log::info(format!(
        "Downloaded the image from {}",
        quoted(&image.location)
    ));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tar, as the real one takes raw and qcow2 images only.
fn check_format(file: &mut File, path: &Path) -> Result<()> {
    let mut block = [0; 512];
    file.seek(SeekFrom::Start(0))?;
    let read = file.read_exact(&mut block);
    file.seek(SeekFrom::Start(0))?;
    if read.is_err() || &block[257..262] != b"ustar" {
        bail!(
            "{} is no image: the guests of the tests have tars as their disks",
            path.display()
        );
    }
    Ok(())
}

/// A copy that shares what the volume can share, and has holes where the source has them.
pub(crate) fn copy_sparse(source: &mut File, target: &Path) -> Result<()> {
    let copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(target)?;
    let length = source.metadata()?.len();
    if rustix::fs::ioctl_ficlone(&copy, &*source).is_ok() {
        return Ok(());
    }
    copy.set_len(length)?;
    copy_data(source, &copy, length)?;
    Ok(())
}

fn copy_data(source: &File, target: &File, length: u64) -> Result<()> {
    use rustix::fs::{SeekFrom as Seek, seek};
    let mut at = 0;
    while at < length {
        let Ok(start) = seek(source, Seek::Data(at)) else {
            break;
        };
        let end = seek(source, Seek::Hole(start))?;
        let (mut reader, mut writer) = (source, target);
        reader.seek(SeekFrom::Start(start))?;
        writer.seek(SeekFrom::Start(start))?;
        io::copy(&mut reader.take(end - start), &mut writer)?;
        at = end;
    }
    Ok(())
}

/// Brings the disk to the size that the yaml says. It can only grow.
pub(crate) fn resize(name: &str, yaml: &Yaml, dir: &Path) -> Result<()> {
    let disk = dir.join("disk");
    let wanted = yaml.disk_bytes()?;
    let size = std::fs::metadata(&disk)?.len();
    if size == wanted {
        return Ok(());
    }
    log::info(format!(
        "Resize instance {name}'s disk from {} to {}",
        shown(size),
        shown(wanted)
    ));
    if wanted < size {
        bail!("disk shrinking is not supported");
    }
    OpenOptions::new()
        .write(true)
        .open(&disk)?
        .set_len(wanted)?;
    Ok(())
}

fn shown(size: u64) -> String {
    let (mut number, mut units) = (size as f64, ["B", "KiB", "MiB", "GiB", "TiB"].iter());
    let mut unit = units.next().unwrap_or(&"B");
    while number >= 1024.0 {
        let Some(next) = units.next() else { break };
        number /= 1024.0;
        unit = next;
    }
    format!("{}{unit}", (number * 1000.0).round() / 1000.0)
}

/// Writes the guest's root back: beside the disk that is meant, then in its place. For `freeze` the guest still runs, and
/// may change files that are being read.
pub(crate) fn pack(
    user: &User,
    root: &Path,
    dir: &Path,
    faults: &Faults,
    command: &str,
) -> Result<()> {
    let disk = dir
        .join("disk")
        .canonicalize()
        .context("the disk is gone")?;
    let size = std::fs::metadata(&disk)?.len();
    let temporary = disk.with_file_name("disk.pack.tmp");
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
    // tar's word for files that have changed meanwhile.
    let has_changed = command == "freeze" && output.status.code() == Some(1);
    if !output.status.success() && !has_changed {
        bail!(
            "cannot pack the root: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let length = file.metadata()?.len();
    if length > size {
        bail!("write {}: no space left on device", disk.display());
    }
    file.set_len(size)?;
    file.sync_all()?;
    faults.point(command, "packed");
    std::fs::rename(&temporary, &disk)?;
    Ok(())
}

/// Deletes what was unpacked; it belongs to ids of the guest.
pub(crate) fn remove_scratch(user: &User, scratch: &Path) -> Result<()> {
    if !scratch.exists() {
        return Ok(());
    }
    namespace::end_guest(scratch);
    let output = output_of(
        namespace::as_guest_root(user)
            .args(["rm", "-rf", "--"])
            .arg(scratch),
    )?;
    if scratch.exists() {
        bail!("{} can't be removed: {output}", scratch.display());
    }
    Ok(())
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
