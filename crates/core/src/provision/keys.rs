//! SSH keys for envs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::{self, LineEnding};
use russh::keys::{Algorithm, PrivateKey, PublicKey};

use crate::error::{Error, ErrorKind, Result};
use crate::home::{Home, replace};

/// Our ed25519 key pair, in `ssh/` of the state directory.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Private key file, mode 0600.
    pub private: PathBuf,
    /// A line of `authorized_keys`.
    pub public: String,
}

impl KeyPair {
    /// Loads the pair, or creates it.
    ///
    /// # Errors
    /// `Io` if a file cannot be written, `Config` for an invalid private key.
    pub fn load_or_create(home: &Home) -> Result<Self> {
        let private = home.directory("ssh")?.join("id_ed25519");
        if !private.exists() {
            create(&private)?;
        }
        let key = PrivateKey::read_openssh_file(&private).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                format!("{} is not an SSH key", private.display()),
            )
            .with_hint("delete it to create a new one for new envs")
            .caused_by(error)
        })?;
        let public = to_line(key.public_key())?;
        Ok(Self { private, public })
    }
}

fn create(path: &Path) -> Result<()> {
    let failed = |error: ssh_key::Error| {
        Error::new(ErrorKind::Internal, "cannot create an SSH key").caused_by(error)
    };
    let mut key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(failed)?;
    key.set_comment("lxc-dev-manager");
    let text = key.to_openssh(LineEnding::LF).map_err(failed)?;
    let written = replace(path, text.as_bytes(), fs::Permissions::from_mode(0o600));
    written.map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

fn to_line(key: &PublicKey) -> Result<String> {
    key.to_openssh().map_err(|error| {
        Error::new(ErrorKind::Internal, "cannot encode an SSH key").caused_by(error)
    })
}

/// Lines of `authorized_keys`: our public key and those in `~/.ssh`. Skips invalid files.
///
/// # Errors
/// Those of [`KeyPair::load_or_create`].
pub fn authorized_keys(home: &Home) -> Result<Vec<String>> {
    let mut lines = vec![KeyPair::load_or_create(home)?.public];
    let files = home
        .user_ssh()
        .and_then(|directory| fs::read_dir(directory).ok());
    let mut paths: Vec<PathBuf> = files
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "pub"))
    {
        if let Ok(key) = PublicKey::read_openssh_file(path) {
            lines.push(to_line(&key)?);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_one_private_pair() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("home"), None, None);
        let first = KeyPair::load_or_create(&home).unwrap();
        assert!(first.public.starts_with("ssh-ed25519 "), "{}", first.public);
        let mode = fs::metadata(&first.private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(KeyPair::load_or_create(&home).unwrap().public, first.public);
    }

    #[test]
    fn adds_the_users_keys_and_skips_other_files() {
        let directory = tempfile::tempdir().unwrap();
        let ssh = directory.path().join("ssh");
        fs::create_dir(&ssh).unwrap();
        let other = Home::new(directory.path().join("other"), None, None);
        let key = KeyPair::load_or_create(&other).unwrap().public;
        fs::write(ssh.join("id.pub"), &key).unwrap();
        fs::write(ssh.join("broken.pub"), "no key; $(id)").unwrap();
        let home = Home::new(directory.path().join("home"), None, Some(ssh));
        let lines = authorized_keys(&home).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], key);
    }
}
