//! A daemon that may be killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::model::EngineKind;
use lxc_dev_manager_tests::engines::TestEngine;

/// The only image that it has.
pub(crate) const IMAGE: &str = "ldm-busybox";

/// A daemon with a bridge, a pool and an image of its own, until dropped.
pub(crate) struct Daemon {
    pub(crate) engine: TestEngine,
    directory: PathBuf,
    pool_size: &'static str,
}

impl Daemon {
    /// Starts one, whose pool is so big. What a killed run of the same test has left is deleted first.
    pub(crate) fn start(kind: EngineKind, test: &str, pool_size: &'static str) -> Result<Self> {
        let usual = std::env::var("LDM_TEST_DIR").unwrap_or_else(|_| "/var/tmp/ldm-test".into());
        let label = if kind == EngineKind::Lxd {
            "lxd"
        } else {
            "incus"
        };
        // Short, for the paths of its sockets.
        let mark: String = test
            .split('_')
            .filter_map(|word| word.chars().next())
            .collect();
        let directory = PathBuf::from(format!("{usual}-{label}-{mark}"));
        let daemon = Self {
            engine: TestEngine {
                kind,
                socket: directory.join(label).join("unix.socket"),
            },
            directory,
            pool_size,
        };
        daemon.script(&["clean"])?;
        let images = daemon.directory.join("images");
        if images.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new(&usual).join("images"), images)?;
        }
        daemon.script(&["up"])?;
        Ok(daemon)
    }

    /// SIGKILL, and a new start. Its instances run on.
    pub(crate) fn restart(&self) -> Result<()> {
        self.script(&["restart", self.engine.label()])
    }

    fn script(&self, arguments: &[&str]) -> Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/engines.sh");
        let output = Command::new(script)
            .args(arguments)
            .env("LDM_TEST_DIR", &self.directory)
            .env("LDM_TEST_ENGINES", self.engine.label())
            .env("LDM_TEST_IMAGES", IMAGE)
            .env("LDM_TEST_POOL_SIZE", self.pool_size)
            .output()
            .context("engines.sh can't be run")?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.script(&["clean"]) {
            eprintln!("{} was left behind: {error:?}", self.directory.display());
            return;
        }
        // Only a lock file and a link are left.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
