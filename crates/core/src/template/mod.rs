//! Lima templates: built-in ones, the user's own, and the settings of a machine created from one.
//!
//! A template is YAML in Lima's format. The built-in ones are embedded and contain only what is specific to their
//! distribution; common settings are added by [`instance_yaml`]. Values are inserted as YAML values, never as text into
//! YAML or scripts. Deliberately absent: running `limactl`.

mod check;
mod instance;
#[cfg(test)]
mod properties;
mod settings;
mod store;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde_yaml::Value;

use crate::error::{Error, ErrorKind, Result};

pub use check::{Level, Problem, check};
pub use instance::{Forwarding, ImageFile, MachineSpec, Vm, instance_yaml};
pub use settings::{Change, MachineSettings, change, read_settings};
pub use store::{Origin, TemplateInfo, Templates};

/// Settings of a machine that also apply to copies of its disk.
const DISK_KEYS: [&str; 12] = [
    "arch",
    "containerd",
    "cpus",
    "disk",
    "firmware",
    "images",
    "memory",
    "minimumLimaVersion",
    "mountTypesUnsupported",
    "os",
    "ssh",
    "user",
];
const MAX_NAME_LENGTH: usize = 64;

/// Name of a template: letters, digits, `.`, `_` and `-`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateName(String);

impl TemplateName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TemplateName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let has_valid_start = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if has_valid_start && text.len() <= MAX_NAME_LENGTH && text.chars().all(is_valid) {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("invalid template name `{text}`");
        Err(Error::new(ErrorKind::InvalidName, message).with_hint(
            "use letters, digits, `.`, `_` and `-`, at most 64, starting with a letter or digit",
        ))
    }
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub name: TemplateName,
    /// Its YAML.
    pub text: String,
    pub origin: Origin,
}

impl Template {
    /// Reads any file as a template, named after the file if possible.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn read(path: &Path) -> Result<Self> {
        let named = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        let text = store::read(path)
            .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("there is no {}", path.display()),
                )
            })?;
        Ok(Self {
            name: named.unwrap_or_else(|| TemplateName("file".to_owned())),
            text,
            origin: Origin::User,
        })
    }

    /// Its title: the first comment.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        let line = self.text.lines().next()?;
        let title = line.strip_prefix('#')?.trim();
        (!title.is_empty()).then_some(title)
    }

    /// The template with the common settings, usable by `limactl create`.
    ///
    /// # Errors
    /// `Config` for an invalid template.
    pub fn standalone_yaml(&self) -> Result<String> {
        let yaml = instance_yaml(self, &MachineSpec::default())?;
        Ok(match self.title() {
            Some(title) => format!("# {title}\n{yaml}"),
            None => yaml,
        })
    }

    /// Creates a template from the settings of a machine, for copies of its disk. Omits mounts, scripts, ports and
    /// networks.
    ///
    /// # Errors
    /// `Config` for invalid settings.
    pub fn from_machine(yaml: &str) -> Result<Self> {
        let mut all = settings::mapping(yaml)?;
        all.retain(|key, _| key.as_str().is_some_and(|key| DISK_KEYS.contains(&key)));
        if let Some(ssh) = all.get_mut("ssh").and_then(Value::as_mapping_mut) {
            // Keys and agent forwarding are not inherited.
            ssh.retain(|key, _| key.as_str() == Some("overVsock"));
        }
        Ok(Self {
            name: TemplateName("machine".to_owned()),
            text: settings::write(&all)?,
            origin: Origin::User,
        })
    }
}

/// An architecture in Lima's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// `aarch64`.
    Aarch64,
    /// `x86_64`.
    X86_64,
}

impl Arch {
    /// All, in display order.
    pub const ALL: [Self; 2] = [Self::Aarch64, Self::X86_64];

    /// The host's architecture, if supported.
    #[must_use]
    pub fn host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }
}

impl FromStr for Arch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "aarch64" => Ok(Self::Aarch64),
            "x86_64" => Ok(Self::X86_64),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("unsupported architecture `{other}`: expected `aarch64` or `x86_64`"),
            )),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_from_machine_omits_its_own_settings() {
        let yaml = "cpus: 2\nmounts: [{location: '~', writable: true}]\n\
                    provision: [{mode: system, script: x}]\nportForwards: []\nvmType: vz\n\
                    ssh: {forwardAgent: true, overVsock: false}\n";
        let template = Template::from_machine(yaml).unwrap();
        assert_eq!(template.text, "cpus: 2\nssh:\n  overVsock: false\n");
    }

    #[test]
    fn rejects_invalid_names() {
        for good in ["ubuntu-24.04", "my_base", "1"] {
            assert_eq!(good.parse::<TemplateName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "../x",
            "a/b",
            ".hidden",
            "-f",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<TemplateName>().is_err(), "{bad:?}");
        }
    }
}
