//! Boot: the work of cloud-init, then Lima's scripts, with the log lines that our backend reads.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{GuestMessage, Spec, accounts, send, wait_for};
use crate::agent::SSHD_CONFIG;

const LOG: &str = "/var/log/cloud-init-output.log";
const DATA: &str = "/mnt/lima-cidata";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// Runs the scripts in order, as root or as the user.
const SCRIPTS: &str = include_str!("boot.sh");

pub(super) fn boot(spec: &Spec) -> Result<()> {
    std::thread::sleep(spec.boot_delay);
    accounts::create(spec)?;
    bash()?;
    host_key()?;
    sshd_config()?;
    write_scripts(spec)?;
    send(&GuestMessage::Reachable);
    run_scripts(spec)?;
    send(&GuestMessage::Booted);
    Ok(())
}

/// Scripts need bash; if missing, a wrapper of `sh` replaces it.
fn bash() -> Result<()> {
    let path = Path::new("/bin/bash");
    if !path.exists() {
        fs::write(path, "#!/bin/sh\nexec /bin/sh \"$@\"\n")?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// New at each boot, as on Lima.
fn host_key() -> Result<()> {
    let _ = fs::remove_file(HOST_KEY);
    let child = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", HOST_KEY])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("no ssh-keygen in the guest")?;
    if wait_for(&child) != 0 {
        bail!("the guest's ssh-keygen failed");
    }
    Ok(())
}

/// Options of the image come before these.
fn sshd_config() -> Result<()> {
    fs::create_dir_all("/run/sshd")?;
    let own = fs::read_to_string("/etc/ssh/sshd_config").unwrap_or_default();
    let mut text = format!("HostKey {HOST_KEY}\n{own}\nUsePAM yes\n");
    if !own.lines().any(|line| line.starts_with("Subsystem")) {
        text.push_str("Subsystem sftp /usr/lib/openssh/sftp-server\n");
    }
    fs::write(SSHD_CONFIG, text)?;
    Ok(())
}

/// Writes the scripts to a directory; Lima uses a volume.
fn write_scripts(spec: &Spec) -> Result<()> {
    let data = Path::new(DATA);
    let _ = fs::remove_dir_all(data);
    fs::create_dir_all(data)?;
    fs::set_permissions(data, Permissions::from_mode(0o700))?;
    for (number, provision) in spec.provision.iter().enumerate() {
        let dir = data.join(format!("provision.{}", provision.mode()));
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{number:08}"));
        fs::write(&path, &provision.script)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Failing scripts do not fail the boot.
fn run_scripts(spec: &Spec) -> Result<()> {
    fs::create_dir_all("/var/log")?;
    let log = OpenOptions::new().append(true).create(true).open(LOG)?;
    let child = Command::new("/bin/sh")
        .args(["-c", SCRIPTS, "boot.sh", DATA])
        .args([&spec.user.name, &spec.user.home])
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .spawn()
        .context("the guest has no shell")?;
    wait_for(&child);
    Ok(())
}
