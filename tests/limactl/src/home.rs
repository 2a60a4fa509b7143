//! Where things are: LIMA_HOME, and the stand-in's own directory in it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::log::quoted;

/// Sockets of an instance have to fit: `ssh` adds 17 characters to the name of its own while it makes it.
const LONGEST_SOCKET: &str = "ssh.sock.1234567890123456";
const UNIX_PATH_MAX: usize = 108;
const LONGEST_NAME: usize = 76;

/// LIMA_HOME.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    pub(crate) fn find() -> Result<Self> {
        let dir = match std::env::var_os("LIMA_HOME").filter(|dir| !dir.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
                Some(home) => PathBuf::from(home).join(".lima"),
                None => bail!("$HOME is not defined"),
            },
        };
        let dir = dir.canonicalize().unwrap_or(dir);
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("_config")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.config().join("user")
    }

    /// The stand-in's own: Lima takes no name for an instance that begins with a dot.
    pub(crate) fn control(&self) -> PathBuf {
        match std::env::var_os("FAKE_LIMACTL").filter(|dir| !dir.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => self.dir.join(".fake"),
        }
    }

    /// Where a running guest's root is unpacked.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.control().join("scratch").join(name)
    }

    /// An instance's directory, whether it exists or not.
    pub(crate) fn instance(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.dir.join(name))
    }

    /// The same, where sockets fit into it.
    pub(crate) fn new_instance(&self, name: &str) -> Result<PathBuf> {
        let dir = self.instance(name)?;
        let socket = dir.join(LONGEST_SOCKET);
        let length = socket.as_os_str().len();
        if length >= UNIX_PATH_MAX {
            bail!(
                "instance name {} too long: {} must be less than UNIX_PATH_MAX={UNIX_PATH_MAX} characters, but is {length}",
                quoted(name),
                quoted(&socket.to_string_lossy()),
            );
        }
        Ok(dir)
    }

    /// Every directory that may be an instance, in order.
    pub(crate) fn instances(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(['.', '_']) && entry.file_type()?.is_dir() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// `^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`
fn is_identifier(name: &str) -> bool {
    let mut after_separator = true;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            after_separator = false;
        } else if "._-".contains(c) && !after_separator {
            after_separator = true;
        } else {
            return false;
        }
    }
    !name.is_empty() && !after_separator
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let shown = quoted(name);
    if name.is_empty() {
        bail!(
            "instance name {shown} is not a valid identifier: identifier must not be empty: invalid argument"
        );
    }
    if name.len() > LONGEST_NAME {
        bail!(
            "instance name {shown} is not a valid identifier: identifier {name:?} greater than maximum length ({LONGEST_NAME} characters): invalid argument"
        );
    }
    if !is_identifier(name) {
        bail!(
            "instance name {shown} is not a valid identifier: identifier {name:?} must match pattern \"^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$\": invalid argument"
        );
    }
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(".yml") || lower.ends_with(".yaml") {
        bail!("instance name {shown} must not end with .yml or .yaml suffix");
    }
    Ok(())
}

/// The name of the guest, which `ssh.config` has too.
pub(crate) fn hostname(name: &str) -> String {
    format!("lima-{}", name.replace(['.', '_'], "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        for good in ["a", "web-dev", "a.b_c-d", "0"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-a", "a-", "a--b", "a b", "../a", "a/b", "x.yaml", "_a", ".a",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&"a".repeat(77)).is_err());
    }
}
