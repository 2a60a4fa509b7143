//! The fields of lima.yaml that the stand-in uses.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) home: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Image {
    pub(crate) location: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount {
    pub(crate) location: PathBuf,
    mount_point: Option<PathBuf>,
    #[serde(default)]
    pub(crate) writable: bool,
}

impl Mount {
    pub(crate) fn target(&self) -> &Path {
        self.mount_point.as_deref().unwrap_or(&self.location)
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Provision {
    mode: Option<String>,
    pub(crate) script: String,
}

impl Provision {
    pub(crate) fn mode(&self) -> &str {
        self.mode.as_deref().unwrap_or("system")
    }
}

/// A rule of `portForwards`. Rules that disable forwarding have no ports.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) guest_port: u16,
    pub(crate) host_port: u16,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Yaml {
    pub(crate) images: Vec<Image>,
    disk: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) provision: Vec<Provision>,
    pub(crate) port_forwards: Vec<Rule>,
    pub(crate) user: User,
}

impl Default for Yaml {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            disk: "100GiB".into(),
            mounts: Vec::new(),
            provision: Vec::new(),
            port_forwards: Vec::new(),
            user: User::default(),
        }
    }
}

impl Yaml {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let failed = || format!("cannot read {}", path.display());
        let text = std::fs::read_to_string(path).with_context(failed)?;
        serde_yaml::from_str(&text).with_context(failed)
    }

    /// Bytes of a size such as `5GiB`.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        let failed = || format!("field `disk` has an invalid value: {}", self.disk);
        let (number, shift) = ["KiB", "MiB", "GiB", "TiB"]
            .iter()
            .zip([10, 20, 30, 40])
            .find_map(|(unit, shift)| Some((self.disk.strip_suffix(unit)?, shift)))
            .unwrap_or((&self.disk, 0));
        let number: u64 = number.parse().with_context(failed)?;
        Ok(number << shift)
    }
}
