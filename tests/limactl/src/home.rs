//! `LIMA_HOME` and the stand-in's own directory in it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    pub(crate) fn find() -> Result<Self> {
        let dir = PathBuf::from(std::env::var_os("LIMA_HOME").context("no LIMA_HOME")?);
        let dir = dir.canonicalize().unwrap_or(dir);
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Directory for the control of the stand-in by tests.
    pub(crate) fn control(&self) -> PathBuf {
        self.dir.join(".fake")
    }

    /// Parent of the root of a running guest.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.control().join("scratch").join(name)
    }

    pub(crate) fn instance(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Directory names that may be instances.
    pub(crate) fn instances(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
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

    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join("_config/user")
    }

    /// The public key; created if missing.
    pub(crate) fn public_key(&self) -> Result<String> {
        let key = self.key();
        if !key.exists() {
            fs::create_dir_all(self.dir.join("_config"))?;
            let output = Command::new("ssh-keygen")
                .args(["-t", "ed25519", "-q", "-N", "", "-C", "lima", "-f"])
                .arg(&key)
                .output()
                .context("cannot run ssh-keygen")?;
            ensure!(output.status.success(), "ssh-keygen failed: {output:?}");
        }
        let text = fs::read_to_string(key.with_extension("pub"))?;
        Ok(text.trim().to_owned())
    }
}

/// Host name of a guest, also in `ssh.config`.
pub(crate) fn hostname(name: &str) -> String {
    format!("lima-{}", name.replace(['.', '_'], "-"))
}
