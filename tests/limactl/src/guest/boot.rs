//! What happens at each boot: cloud-init's part, then the scripts of Lima's, with the same traces.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Spec, Told, accounts, tell, wait_for};
use crate::agent::SSHD_CONFIG;

const LOG: &str = "/var/log/cloud-init-output.log";
const DATA: &str = "/mnt/lima-cidata";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// Runs the scripts in order, as root and as the user. It gets no value but in its environment.
const SCRIPTS: &str = include_str!("boot.sh");

pub(super) fn boot(spec: &Spec) -> Result<()> {
    std::thread::sleep(spec.boot_delay);
    if spec.boot_hangs {
        loop {
            std::thread::park();
        }
    }
    accounts::make(spec)?;
    bash()?;
    host_key(&spec.instance_id)?;
    sshd_config()?;
    write_data(spec)?;
    tell(&Told::Reachable);
    let code = run_scripts(spec)?;
    tell(&Told::Booted(code));
    Ok(())
}

/// Scripts are written for it; as on Alpine, another shell stands in.
fn bash() -> Result<()> {
    let path = Path::new("/bin/bash");
    if !path.exists() {
        fs::write(path, "#!/bin/sh\nexec /bin/sh \"$@\"\n")?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// A new one for each instance id, which is another one at each boot.
fn host_key(instance_id: &str) -> Result<()> {
    for entry in fs::read_dir("/etc/ssh")?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(entry.path())?;
        }
    }
    let child = Command::new("ssh-keygen")
        .args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            instance_id,
            "-f",
            HOST_KEY,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("no ssh-keygen in the guest")?;
    if wait_for(&child) != 0 {
        bail!("the guest's ssh-keygen failed");
    }
    Ok(())
}

/// The image's own options, as far as it has any, and what is missing in them.
fn sshd_config() -> Result<()> {
    fs::create_dir_all("/run/sshd")?;
    let own = fs::read_to_string("/etc/ssh/sshd_config").unwrap_or_default();
    let mut text = format!("HostKey {HOST_KEY}\n");
    let has = |key: &str| {
        own.lines().any(|line| {
            line.split_whitespace()
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case(key))
        })
    };
    if !has("UsePAM") {
        text.push_str("UsePAM yes\n");
    }
    if !has("Subsystem") {
        text.push_str("Subsystem sftp /usr/lib/openssh/sftp-server\n");
    }
    fs::write(SSHD_CONFIG, text + &own)?;
    Ok(())
}

/// The directory that is a volume of its own in a virtual machine. Only root sees it.
fn write_data(spec: &Spec) -> Result<()> {
    let data = Path::new(DATA);
    let _ = fs::remove_dir_all(data);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)?;
    let mut count = std::collections::BTreeMap::new();
    for provision in &spec.provision {
        let mode = provision.mode();
        let number = count.entry(mode).or_insert(0);
        let dir = data.join(format!("provision.{mode}"));
        fs::create_dir_all(&dir)?;
        let text = if mode == "data" {
            &provision.content
        } else {
            &provision.script
        };
        write_script(
            &dir.join(format!("{number:08}")),
            text.as_deref().unwrap_or_default(),
        )?;
        *number += 1;
    }
    let params: String = spec
        .param
        .iter()
        .map(|(key, value)| format!("PARAM_{key}={value}\n"))
        .collect();
    fs::write(data.join("param.env"), params)?;
    Ok(())
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o700)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn run_scripts(spec: &Spec) -> Result<i32> {
    place_files(spec)?;
    fs::create_dir_all("/var/log")?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SCRIPTS, "boot.sh"])
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LIMA_CIDATA_MNT", DATA)
        .env("LIMA_CIDATA_IID", &spec.instance_id)
        .env("LIMA_CIDATA_NAME", &spec.name)
        .env("LIMA_CIDATA_USER", &spec.user.name)
        .env("LIMA_CIDATA_UID", spec.user.uid.to_string())
        .env("LIMA_CIDATA_HOME", &spec.user.home)
        .env(
            "LIMA_PARAMS",
            spec.param
                .keys()
                .map(|key| format!("PARAM_{key}"))
                .collect::<Vec<_>>()
                .join(","),
        )
        .envs(
            spec.param
                .iter()
                .map(|(key, value)| (format!("PARAM_{key}"), value)),
        )
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("the guest has no shell")?;
    let output = child.stdout.take().context("no output")?;
    let log = OpenOptions::new().append(true).create(true).open(LOG)?;
    // A script's service may hold the pipe for ever; only the shell is waited for.
    std::thread::spawn(move || copy_lines(BufReader::new(output), log));
    Ok(wait_for(&child))
}

fn copy_lines(output: impl BufRead, mut log: File) {
    for line in output.split(b'\n').map_while(Result::ok) {
        let _ = log.write_all(&line).and_then(|()| log.write_all(b"\n"));
        tell(&Told::Line(String::from_utf8_lossy(&line).into_owned()));
    }
}

/// `mode: data`.
fn place_files(spec: &Spec) -> Result<()> {
    for provision in spec.provision.iter().filter(|p| p.mode() == "data") {
        let Some(path) = provision.path.as_deref().map(PathBuf::from) else {
            continue;
        };
        if path.exists() && provision.overwrite == Some(false) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, provision.content.as_deref().unwrap_or_default())?;
        let mode = provision.permissions.as_deref().unwrap_or("644");
        fs::set_permissions(
            &path,
            fs::Permissions::from_mode(u32::from_str_radix(mode, 8)?),
        )?;
        let owner = provision.owner.as_deref().unwrap_or("root:root");
        let child = Command::new("chown")
            .arg("--")
            .arg(owner)
            .arg(&path)
            .spawn()?;
        if wait_for(&child) != 0 {
            bail!("cannot give {} to {owner}", path.display());
        }
    }
    Ok(())
}
