//! User preferences, `preferences.json` in the home; each is a [`Preference`].
//!
//! Missing values have their default; unknown ones are preserved.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::home::{Home, read_json, write_json};

const VERSION: u32 = 1;
const DEFAULT_SHARE: u8 = 20;

/// All preferences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preferences {
    #[serde(default = "version")]
    version: u32,
    #[serde(default)]
    pub undo: UndoPreferences,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Limits of undo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UndoPreferences {
    /// Share of a storage pool for undo copies; 0 disables them.
    pub max_share: Share,
    /// Creates undo copies even without copy-on-write.
    pub on_dir: bool,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// A share of 0 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Share(u8);

/// One preference, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// [`UndoPreferences::max_share`].
    UndoMaxShare,
    /// [`UndoPreferences::on_dir`].
    UndoOnDir,
}

fn version() -> u32 {
    VERSION
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            version: VERSION,
            undo: UndoPreferences::default(),
            unknown: Map::new(),
        }
    }
}

impl Default for UndoPreferences {
    fn default() -> Self {
        Self {
            max_share: Share(DEFAULT_SHARE),
            on_dir: false,
            unknown: Map::new(),
        }
    }
}

impl Preferences {
    /// Reads a home's preferences, with a warning if the file was invalid.
    ///
    /// # Errors
    /// `Io` if the file is unreadable.
    pub fn read(home: &Home) -> Result<(Self, Option<String>)> {
        let (read, warning) = read_json(&home.preferences_file(), VERSION)?;
        Ok((read.unwrap_or_default(), warning))
    }

    /// Changes a preference in a home's file.
    ///
    /// # Errors
    /// `Config` for an invalid value; `Io` if the file cannot be written.
    pub fn set(home: &Home, preference: Preference, value: &str) -> Result<()> {
        let _lock = home.lock()?;
        let (mut preferences, _) = Self::read(home)?;
        match preference {
            Preference::UndoMaxShare => preferences.undo.max_share = value.parse()?,
            Preference::UndoOnDir => preferences.undo.on_dir = parse_bool(value)?,
        }
        write_json(&home.preferences_file(), &preferences)
    }

    /// The value of a preference.
    #[must_use]
    pub fn value(&self, preference: Preference) -> Value {
        match preference {
            Preference::UndoMaxShare => json!(self.undo.max_share),
            Preference::UndoOnDir => json!(self.undo.on_dir),
        }
    }
}

fn parse_bool(text: &str) -> Result<bool> {
    match text {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => {
            let message = format!("invalid value `{text}`: expected `true` or `false`");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

impl Share {
    /// This share of `total`.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        // Divides first to avoid an overflow.
        total / 100 * u64::from(self.0) + total % 100 * u64::from(self.0) / 100
    }

    /// Whether the share is 0 %.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u8> for Share {
    type Error = Error;

    fn try_from(percent: u8) -> Result<Self> {
        match percent {
            0..=100 => Ok(Self(percent)),
            _ => Err(invalid_share(&percent.to_string())),
        }
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let percent: u8 = number.parse().map_err(|_| invalid_share(text))?;
        Self::try_from(percent)
    }
}

fn invalid_share(text: &str) -> Error {
    let message = format!("invalid share `{text}`: expected a percentage from 0 to 100");
    Error::new(ErrorKind::Config, message)
}

impl From<Share> for u8 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl Preference {
    /// All preferences.
    pub const ALL: [Self; 2] = [Self::UndoMaxShare, Self::UndoOnDir];

    /// Its path in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UndoMaxShare => "undo.max_share",
            Self::UndoOnDir => "undo.on_dir",
        }
    }

    /// A one-line description.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::UndoMaxShare => "percentage of a storage pool for undo copies; 0 disables undo",
            Self::UndoOnDir => "create undo copies even if each is a full copy",
        }
    }
}

impl FromStr for Preference {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::NotFound, format!("unknown preference `{name}`"))
                .with_hint(format!("known preferences: {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        (directory, home)
    }

    #[test]
    fn missing_values_have_defaults_and_unknown_ones_are_preserved() {
        let (_directory, home) = home();
        assert_eq!(Preferences::read(&home).unwrap().0, Preferences::default());
        let text = r#"{"version": 1, "undo": {"on_dir": true, "later": 1}, "window": {"x": 2}}"#;
        std::fs::write(home.preferences_file(), text).unwrap();
        Preferences::set(&home, Preference::UndoMaxShare, "5%").unwrap();
        let (read, _) = Preferences::read(&home).unwrap();
        assert_eq!((read.undo.max_share, read.undo.on_dir), (Share(5), true));
        let text = std::fs::read_to_string(home.preferences_file()).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["undo"]["later"], 1);
        assert_eq!(written["window"]["x"], 2);
    }

    #[test]
    fn rejects_invalid_values_on_write_and_read() {
        let (_directory, home) = home();
        for (preference, value) in [
            (Preference::UndoMaxShare, "101"),
            (Preference::UndoMaxShare, "-1"),
            (Preference::UndoMaxShare, ""),
            (Preference::UndoOnDir, "maybe"),
        ] {
            let error = Preferences::set(&home, preference, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{value}");
        }
        assert!(!home.preferences_file().exists());
        std::fs::write(home.preferences_file(), r#"{"undo": {"max_share": 200}}"#).unwrap();
        let (read, warning) = Preferences::read(&home).unwrap();
        assert_eq!(read, Preferences::default());
        assert!(warning.unwrap().contains("moved to"));
        assert!("undo.other".parse::<Preference>().is_err());
    }

    #[test]
    fn share_never_exceeds_the_total() {
        assert_eq!(Share(20).of(1000), 200);
        assert_eq!(Share(50).of(3), 1);
        assert_eq!(Share(100).of(u64::MAX), u64::MAX);
    }
}
