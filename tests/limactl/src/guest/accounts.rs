//! The user that cloud-init would make: in the files themselves, for not every image has programs for it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{Gid, Uid, chown};

use super::Spec;

pub(super) fn make(spec: &Spec) -> Result<()> {
    let user = &spec.user;
    let (name, uid) = (&user.name, user.uid);
    let new = !has(Path::new("/etc/passwd"), name);
    let comment = user.comment.replace([':', '\n'], " ");
    add("/etc/group", name, &format!("{name}:x:{uid}:"))?;
    add(
        "/etc/passwd",
        name,
        &format!(
            "{name}:x:{uid}:{uid}:{comment}:{}:{}",
            user.home, user.shell
        ),
    )?;
    if Path::new("/etc/shadow").exists() {
        add("/etc/shadow", name, &format!("{name}:!:19700:0:99999:7:::"))?;
    }
    let home = PathBuf::from(&user.home);
    let owner = owner_of(name).unwrap_or((uid, uid));
    if new || !home.exists() {
        make_home(&home, owner)?;
    }
    authorize(&home, owner, &spec.keys)?;
    sudoers(name)?;
    let runtime = PathBuf::from(format!("/run/user/{uid}"));
    fs::create_dir_all(&runtime)?;
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700))?;
    own(&runtime, owner)
}

fn own(path: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(())
}

fn has(path: &Path, name: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .any(|line| line.split(':').next() == Some(name))
}

/// What the image says of a user that it has already.
fn owner_of(name: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn add(path: &str, name: &str, line: &str) -> Result<()> {
    let path = Path::new(path);
    if has(path, name) {
        return Ok(());
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    // The last line may have no end.
    let before = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    writeln!(file, "{before}{line}")?;
    Ok(())
}

fn make_home(home: &Path, owner: (u32, u32)) -> Result<()> {
    fs::create_dir_all(home)?;
    fs::set_permissions(home, fs::Permissions::from_mode(0o755))?;
    own(home, owner)?;
    for entry in fs::read_dir("/etc/skel").into_iter().flatten().flatten() {
        let target = home.join(entry.file_name());
        if entry.file_type()?.is_file() && !target.exists() {
            fs::copy(entry.path(), &target)?;
            own(&target, owner)?;
        }
    }
    Ok(())
}

fn authorize(home: &Path, owner: (u32, u32), keys: &[String]) -> Result<()> {
    let dir = home.join(".ssh");
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    own(&dir, owner)?;
    let path = dir.join("authorized_keys");
    let mut text = fs::read_to_string(&path).unwrap_or_default();
    for key in keys {
        if !text.lines().any(|line| line == key) {
            text.push_str(key);
            text.push('\n');
        }
    }
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    own(&path, owner)
}

fn sudoers(name: &str) -> Result<()> {
    let main = Path::new("/etc/sudoers");
    let text = fs::read_to_string(main).unwrap_or_default();
    let included = ["#includedir /etc/sudoers.d", "@includedir /etc/sudoers.d"];
    if !included.iter().any(|line| text.contains(line)) {
        fs::write(main, format!("{text}\n@includedir /etc/sudoers.d\n"))?;
        fs::set_permissions(main, fs::Permissions::from_mode(0o440))?;
    }
    fs::create_dir_all("/etc/sudoers.d")?;
    let path = "/etc/sudoers.d/90-cloud-init-users";
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o440)
        .open(path)?;
    writeln!(file, "{name} ALL=(ALL) NOPASSWD:ALL")?;
    Ok(())
}
