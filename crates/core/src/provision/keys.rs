//! SSH keys that open an env: the user's own, and one pair of ours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};

use crate::error::{Error, ErrorKind, Result};
use crate::home::{Home, replace};

/// Our own key pair, ed25519, in `ssh/` of our home.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// File with the private key, 0600.
    pub private: PathBuf,
    /// The public key as a line of `authorized_keys`.
    pub public: String,
}

impl KeyPair {
    /// The pair, made where it isn't there yet.
    ///
    /// # Errors
    /// `Io` where the files can't be written, `Config` where the private key can't be read.
    pub fn load_or_make(home: &Home) -> Result<Self> {
        let private = home.directory("ssh")?.join("id_ed25519");
        if !private.exists() {
            make(&private)?;
        }
        let key = PrivateKey::read_openssh_file(&private).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                format!("{} is no SSH key", private.display()),
            )
            .with_hint("delete it; a new one is made, for envs created from then on")
            .caused_by(error)
        })?;
        let public = line(key.public_key())?;
        Ok(Self { private, public })
    }
}

fn make(path: &Path) -> Result<()> {
    let failed = |error: ssh_key::Error| {
        Error::new(ErrorKind::Internal, "cannot make an SSH key").caused_by(error)
    };
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(failed)?;
    key.set_comment("lxc-dev-manager");
    let text = key.to_openssh(LineEnding::LF).map_err(failed)?;
    let written = replace(path, text.as_bytes(), fs::Permissions::from_mode(0o600));
    written.map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

fn line(key: &PublicKey) -> Result<String> {
    key.to_openssh().map_err(|error| {
        Error::new(ErrorKind::Internal, "cannot write an SSH key").caused_by(error)
    })
}

/// Lines for `authorized_keys`: the user's public keys, and ours.
///
/// Files of `~/.ssh` that are no public keys are passed over: they aren't ours to judge.
///
/// # Errors
/// Those of [`KeyPair::load_or_make`].
pub fn authorized_keys(home: &Home) -> Result<Vec<String>> {
    let mut lines = vec![KeyPair::load_or_make(home)?.public];
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
            lines.push(line(&key)?);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("home"), None, None);
        let first = KeyPair::load_or_make(&home).unwrap();
        assert!(first.public.starts_with("ssh-ed25519 "), "{}", first.public);
        let mode = fs::metadata(&first.private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(KeyPair::load_or_make(&home).unwrap().public, first.public);
    }

    #[test]
    fn the_users_keys_are_added_and_other_files_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let ssh = directory.path().join("ssh");
        fs::create_dir(&ssh).unwrap();
        let other = Home::new(directory.path().join("other"), None, None);
        let key = KeyPair::load_or_make(&other).unwrap().public;
        fs::write(ssh.join("id.pub"), &key).unwrap();
        fs::write(ssh.join("broken.pub"), "no key; $(id)").unwrap();
        let home = Home::new(directory.path().join("home"), None, Some(ssh));
        let lines = authorized_keys(&home).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], key);
    }
}
