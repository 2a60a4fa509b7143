//! Lima templates: the built-in ones, the user's own, and the settings of one machine made of one.
//!
//! A template is YAML of Lima's own shape. The built-in ones are embedded and hold only what is
//! particular to their distribution; what every machine of ours has is written by [`instance_yaml`].
//! Values are put in as YAML values, never as text: not into the YAML, and not into a script.
//! Deliberately absent: running `limactl`.

mod check;
mod instance;
#[cfg(test)]
mod properties;
mod seen;
mod store;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde_yaml::Value;

use crate::error::{Error, ErrorKind, Result};

pub use check::{Level, Problem, check};
pub use instance::{Forwarding, Guest, ImageFile, Vm, instance_yaml};
pub use seen::{Change, Seen, change, read_settings};
pub use store::{Info, Origin, Templates};

/// What of a machine's settings goes with its disk.
const OF_A_DISK: [&str; 12] = [
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
/// The longest name of a template.
const MAX_NAME: usize = 64;

/// The name of a template: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
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
        let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && text.len() <= MAX_NAME && text.chars().all(is_good) {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("`{text}` can't be the name of a template");
        Err(Error::new(ErrorKind::InvalidName, message).with_hint(
            "letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit",
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
    /// Its name.
    pub name: TemplateName,
    /// Its YAML.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Template {
    /// A file that need not be one of the user's templates. It is named as its file, where that can be a
    /// name.
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

    /// Its first comment: what it is.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        let line = self.text.lines().next()?;
        let title = line.strip_prefix('#')?.trim();
        (!title.is_empty()).then_some(title)
    }

    /// It together with what every machine of ours has: what `limactl create` takes as it is.
    ///
    /// # Errors
    /// `Config` for one that can't be used.
    pub fn stand_alone(&self) -> Result<String> {
        let yaml = instance_yaml(self, &Guest::default())?;
        Ok(match self.title() {
            Some(title) => format!("# {title}\n{yaml}"),
            None => yaml,
        })
    }

    /// One made of the settings of a machine: for machines that are made of its disk. Directories of the host,
    /// scripts, ports and networks were that machine's own.
    ///
    /// # Errors
    /// `Config` for what can't be read.
    pub fn of_machine(yaml: &str) -> Result<Self> {
        let mut all = seen::mapping(yaml)?;
        all.retain(|key, _| key.as_str().is_some_and(|key| OF_A_DISK.contains(&key)));
        if let Some(ssh) = all.get_mut("ssh").and_then(Value::as_mapping_mut) {
            // Which keys let somebody in, and whether an agent is lent, is never a disk's to say.
            ssh.retain(|key, _| key.as_str() == Some("overVsock"));
        }
        Ok(Self {
            name: TemplateName("machine".to_owned()),
            text: seen::write(&all)?,
            origin: Origin::User,
        })
    }
}

/// An architecture, as Lima writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// `aarch64`.
    Aarch64,
    /// `x86_64`.
    X86_64,
}

impl Arch {
    /// Both, in the order in which lists show them.
    pub const ALL: [Self; 2] = [Self::Aarch64, Self::X86_64];

    /// That of this machine, where it is one of them.
    #[must_use]
    pub fn here() -> Option<Self> {
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
                format!("machines of `{other}` can't be made"),
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
    fn what_was_a_machines_own_does_not_go_with_its_disk() {
        let yaml = "cpus: 2\nmounts: [{location: '~', writable: true}]\n\
                    provision: [{mode: system, script: x}]\nportForwards: []\nvmType: vz\n\
                    ssh: {forwardAgent: true, overVsock: false}\n";
        let template = Template::of_machine(yaml).unwrap();
        assert_eq!(template.text, "cpus: 2\nssh:\n  overVsock: false\n");
    }

    #[test]
    fn names_stay_below_their_directory() {
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
