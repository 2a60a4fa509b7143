//! A daemon that tests may kill.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::model::EngineKind;
use lxc_dev_manager_tests::engines::TestEngine;

/// Its only image.
pub(crate) const IMAGE: &str = "ldm-busybox";

/// A daemon with its own bridge, pool and image, until dropped.
pub(crate) struct Daemon {
    pub(crate) engine: TestEngine,
    directory: PathBuf,
    pool_size: &'static str,
}

impl Daemon {
    /// Starts a daemon with a pool of this size, after deleting leftovers of a killed run of the same test.
    pub(crate) fn start(kind: EngineKind, test: &str, pool_size: &'static str) -> Result<Self> {
        let usual = std::env::var("LDM_TEST_DIR").unwrap_or_else(|_| "/var/tmp/ldm-test".into());
        let label = if kind == EngineKind::Lxd {
            "lxd"
        } else {
            "incus"
        };
        // Short, because of the limit for socket paths.
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

    /// Kills the daemon and starts it again. Its instances keep running.
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
            .context("cannot run engines.sh")?;
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
        // Only a lock file and a link remain.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
