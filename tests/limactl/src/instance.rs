//! An instance: its files, and its status.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use crate::home::{Home, hostname};
use crate::process::read_pid;
use crate::yaml::Yaml;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The lima.yaml is invalid.
    Unknown,
    Broken,
    Stopped,
    Running,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Broken => "Broken",
            Self::Stopped => "Stopped",
            Self::Running => "Running",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) status: Status,
    yaml: Result<Yaml, String>,
    /// 0 if not running.
    pub(crate) agent: u32,
    /// 0 if not running.
    pub(crate) driver: u32,
}

impl Instance {
    /// Fails without a lima.yaml.
    pub(crate) fn find(home: &Home, name: &str) -> Result<Self> {
        let dir = home.instance(name);
        let path = dir.join("lima.yaml");
        if path.symlink_metadata().is_err() {
            bail!("open {}: no such file or directory", path.display());
        }
        let yaml = Yaml::read(&path).map_err(|error| format!("{error:#}"));
        // Lima ignores processes of an instance with an invalid lima.yaml.
        let pid = |file: &str| match yaml {
            Ok(_) => read_pid(&dir.join(file)),
            Err(_) => 0,
        };
        let (agent, driver) = (pid("ha.pid"), pid("qemu.pid"));
        let status = match (agent, driver) {
            _ if yaml.is_err() => Status::Unknown,
            (0, 0) => Status::Stopped,
            (0, _) | (_, 0) => Status::Broken,
            _ if UnixStream::connect(dir.join("ha.sock")).is_err() => Status::Broken,
            _ => Status::Running,
        };
        Ok(Self {
            name: name.to_owned(),
            dir,
            status,
            yaml,
            agent,
            driver,
        })
    }

    pub(crate) fn yaml(&self) -> Result<&Yaml> {
        self.yaml.as_ref().map_err(|error| anyhow!("{error}"))
    }

    pub(crate) fn hostname(&self) -> String {
        hostname(&self.name)
    }
}
