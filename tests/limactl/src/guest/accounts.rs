//! The user that cloud-init would create, written to files, because some images lack the programs.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{Gid, Uid, chown};

use super::Spec;

pub(super) fn create(spec: &Spec) -> Result<()> {
    let (name, uid, home) = (&spec.user.name, spec.user.uid, &spec.user.home);
    add("/etc/group", name, &format!("x:{uid}:"))?;
    add(
        "/etc/passwd",
        name,
        &format!("x:{uid}:{uid}::{home}:/bin/bash"),
    )?;
    add("/etc/shadow", name, "!:19700:0:99999:7:::")?;
    let ssh = PathBuf::from(home).join(".ssh");
    let keys = ssh.join("authorized_keys");
    fs::create_dir_all(&ssh)?;
    let known = fs::read_to_string(&keys).unwrap_or_default();
    if !known.contains(&spec.key) {
        fs::write(&keys, format!("{known}{}\n", spec.key))?;
    }
    for (path, mode) in [(Path::new(home), 0o755), (&ssh, 0o700), (&keys, 0o600)] {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
    }
    sudoers(name)
}

fn add(path: &str, name: &str, fields: &str) -> Result<()> {
    let text = fs::read_to_string(path).unwrap_or_default();
    if text
        .lines()
        .any(|line| line.split(':').next() == Some(name))
    {
        return Ok(());
    }
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    // The last line may lack its newline.
    let before = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    writeln!(file, "{before}{name}:{fields}")?;
    Ok(())
}

fn sudoers(name: &str) -> Result<()> {
    let write = |path: &str, text: String| {
        fs::write(path, text)?;
        fs::set_permissions(path, Permissions::from_mode(0o440))
    };
    let text = fs::read_to_string("/etc/sudoers").unwrap_or_default();
    if !text.contains("includedir /etc/sudoers.d") {
        let text = format!("{text}\n@includedir /etc/sudoers.d\n");
        write("/etc/sudoers", text)?;
    }
    fs::create_dir_all("/etc/sudoers.d")?;
    let text = format!("{name} ALL=(ALL) NOPASSWD:ALL\n");
    write("/etc/sudoers.d/90-cloud-init-users", text)?;
    Ok(())
}
