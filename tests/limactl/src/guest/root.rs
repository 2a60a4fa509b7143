//! The guest's root: unpacked, with the usual mounts.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::fs::StatVfsMountFlags;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};
use rustix::process::pivot_root;

use super::Spec;
use crate::disk::stderr;

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

const FREEZER: &str = include_str!("fsfreeze.sh");

pub(super) fn enter(spec: &Spec) -> Result<()> {
    let root = &spec.root;
    unpack(&spec.disk, root)?;
    // `pivot_root` needs a mount point.
    mount_bind(root, root).context("cannot bind the root")?;
    system_mounts(root)?;
    for shared in &spec.mounts {
        bind(
            &shared.location,
            &below(root, shared.target()),
            shared.writable,
        )
        .with_context(|| format!("cannot mount {}", shared.location.display()))?;
    }
    run("ip", &["link", "set", "lo", "up"])?;
    // As in Lima's network; the address leads nowhere.
    run("ip", &["addr", "add", "192.168.5.15/24", "dev", "lo"])?;
    run("ip", &["route", "add", "default", "dev", "lo"])?;
    if spec.freezes {
        freezer(root)?;
    }
    let old = root.join(".host");
    fs::create_dir_all(&old)?;
    pivot_root(root, &old).context("cannot change the root")?;
    std::env::set_current_dir("/")?;
    unmount("/.host", UnmountFlags::DETACH).context("cannot leave the host's root")?;
    let _ = fs::remove_dir("/.host");
    rustix::system::sethostname(spec.hostname.as_bytes()).context("cannot set the hostname")?;
    fs::write("/etc/hostname", format!("{}\n", spec.hostname))?;
    hosts(&spec.hostname)
}

/// The tar ends long before the end of its file.
fn unpack(disk: &Path, root: &Path) -> Result<()> {
    let output = Command::new("tar")
        .args(["--numeric-owner", "-xpf", "-", "-C"])
        .arg(root)
        .stdin(File::open(disk)?)
        .output()
        .context("cannot run tar")?;
    ensure!(
        output.status.success(),
        "no bootable device: {}",
        stderr(&output)
    );
    Ok(())
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn file_system(kind: &str, target: &Path, flags: MountFlags, options: &str) -> Result<()> {
    fs::create_dir_all(target)?;
    let options = CString::new(options)?;
    mount(kind, target, kind, flags, options.as_c_str())
        .with_context(|| format!("cannot mount {kind} on {}", target.display()))
}

fn system_mounts(root: &Path) -> Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    file_system("proc", &root.join("proc"), safe | MountFlags::NOEXEC, "")?;
    // Optional: no test needs it.
    let _ = file_system("sysfs", &root.join("sys"), safe | MountFlags::RDONLY, "");
    let dev = root.join("dev");
    file_system("tmpfs", &dev, MountFlags::NOSUID, "mode=755")?;
    for name in DEVICES {
        let target = dev.join(name);
        File::create(&target)?;
        mount_bind(Path::new("/dev").join(name), &target)
            .with_context(|| format!("cannot bind /dev/{name}"))?;
    }
    let terminals = "newinstance,ptmxmode=0666,mode=620,gid=5";
    file_system("devpts", &dev.join("pts"), MountFlags::NOSUID, terminals)?;
    file_system("tmpfs", &dev.join("shm"), safe, "mode=1777")?;
    for (target, link) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        symlink(target, dev.join(link))?;
    }
    file_system("tmpfs", &root.join("run"), safe, "mode=755")
}

/// Replaces `fsfreeze` by a script that sends a request to the agent: guests in namespaces may not freeze the host's
/// file system.
fn freezer(root: &Path) -> Result<()> {
    let (own, known) = (root.join("run/fsfreeze"), root.join("usr/sbin/fsfreeze"));
    fs::write(&own, FREEZER)?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
    if !known.exists() {
        fs::create_dir_all(root.join("usr/sbin"))?;
        File::create(&known)?;
    }
    mount_bind(&own, &known).context("cannot bind fsfreeze")
}

fn bind(source: &Path, target: &Path, writable: bool) -> Result<()> {
    fs::create_dir_all(target)?;
    mount_bind_recursive(source, target)?;
    mount_change(target, MountPropagationFlags::PRIVATE)?;
    if !writable {
        // The kernel does not let a bind mount drop flags of the original.
        let mut flags = MountFlags::BIND | MountFlags::RDONLY;
        let inherited = rustix::fs::statvfs(target)?.f_flag;
        for (inherits, flag) in [
            (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
            (StatVfsMountFlags::NODEV, MountFlags::NODEV),
            (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
            (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
            (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
            (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
        ] {
            if inherited.contains(inherits) {
                flags |= flag;
            }
        }
        mount_remount(target, flags, c"")?;
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        stderr(&output)
    );
    Ok(())
}

fn hosts(hostname: &str) -> Result<()> {
    let path = Path::new("/etc/hosts");
    let mut text = fs::read_to_string(path).unwrap_or_default();
    if text.trim().is_empty() {
        text = "127.0.0.1 localhost\n::1 localhost\n".into();
    }
    // Without the host name of a clone's source.
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("127.0.1.1 "))
        .collect();
    let own = format!("127.0.1.1 {hostname}");
    lines.push(&own);
    fs::write(path, lines.join("\n") + "\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    Ok(())
}
