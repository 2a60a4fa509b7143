//! What the user prefers, `preferences.json` in the home: one setting a line of [`Preference`].
//!
//! What isn't in the file has its default; what this version doesn't know stays in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::home::{Home, read_json, write_json};

const VERSION: u32 = 1;
/// How much of a pool undo may hold where nobody says otherwise.
const DEFAULT_SHARE: u8 = 20;

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preferences {
    #[serde(default = "version")]
    version: u32,
    /// Those of undo.
    #[serde(default)]
    pub undo: UndoPreferences,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// What undo may cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UndoPreferences {
    /// How much of a storage pool its copies may hold; with 0 none are made.
    pub max_share: Share,
    /// Copies are made where each one copies everything, too.
    pub on_dir: bool,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A part of something, 0 to 100 percent.
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
            others: Map::new(),
        }
    }
}

impl Default for UndoPreferences {
    fn default() -> Self {
        Self {
            max_share: Share(DEFAULT_SHARE),
            on_dir: false,
            others: Map::new(),
        }
    }
}

impl Preferences {
    /// Those of a home, and a warning where the file had to be set aside.
    ///
    /// # Errors
    /// `Io` where the file can't be read.
    pub fn read(home: &Home) -> Result<(Self, Option<String>)> {
        let (read, warning) = read_json(&home.preferences_file(), VERSION)?;
        Ok((read.unwrap_or_default(), warning))
    }

    /// Changes one of them in a home's file.
    ///
    /// # Errors
    /// `Config` for a value that it can't have; `Io` where the file can't be written.
    pub fn set(home: &Home, preference: Preference, value: &str) -> Result<()> {
        let _lock = home.lock()?;
        let (mut now, _) = Self::read(home)?;
        match preference {
            Preference::UndoMaxShare => now.undo.max_share = value.parse()?,
            Preference::UndoOnDir => now.undo.on_dir = switch(value)?,
        }
        write_json(&home.preferences_file(), &now)
    }

    /// The value of one of them.
    #[must_use]
    pub fn value(&self, preference: Preference) -> Value {
        match preference {
            Preference::UndoMaxShare => json!(self.undo.max_share),
            Preference::UndoOnDir => json!(self.undo.on_dir),
        }
    }
}

fn switch(word: &str) -> Result<bool> {
    match word {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => {
            let message = format!("`{word}` is neither `true` nor `false`");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

impl Share {
    /// So much of a whole.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        // Divided first: a whole may be any number.
        whole / 100 * u64::from(self.0) + whole % 100 * u64::from(self.0) / 100
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u8> for Share {
    type Error = Error;

    fn try_from(percent: u8) -> Result<Self> {
        match percent {
            0..=100 => Ok(Self(percent)),
            _ => Err(no_share(&percent.to_string())),
        }
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let percent: u8 = number.parse().map_err(|_| no_share(text))?;
        Self::try_from(percent)
    }
}

fn no_share(text: &str) -> Error {
    let message = format!("`{text}` is no share");
    Error::new(ErrorKind::Config, message).with_hint("give percent, 0 to 100")
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
    /// All there are.
    pub const ALL: [Self; 2] = [Self::UndoMaxShare, Self::UndoOnDir];

    /// Its name: where it stands in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UndoMaxShare => "undo.max_share",
            Self::UndoOnDir => "undo.on_dir",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::UndoMaxShare => "percent of a storage pool that undo may hold; 0: no undo",
            Self::UndoOnDir => "undo where each copy copies everything, too",
        }
    }
}

impl FromStr for Preference {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::new(
                ErrorKind::NotFound,
                format!("there is no preference `{name}`"),
            )
            .with_hint(format!("there are: {known}"))
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
    fn what_is_not_in_the_file_has_its_default_and_what_is_not_known_stays() {
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
    fn values_are_checked_before_anything_is_written_and_when_read() {
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
        assert!(warning.unwrap().contains("set aside"));
        assert!("undo.other".parse::<Preference>().is_err());
    }

    #[test]
    fn a_share_of_anything_is_not_more_than_it() {
        assert_eq!(Share(20).of(1000), 200);
        assert_eq!(Share(50).of(3), 1);
        assert_eq!(Share(100).of(u64::MAX), u64::MAX);
    }
}
