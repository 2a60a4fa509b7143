//! Patterns of envs' names.

use std::fmt;

use super::EnvName;
use crate::error::{Error, ErrorKind, Result};

/// The name of an env, or a pattern of names: `*` stands for any characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvPattern {
    /// Exactly one.
    Name(EnvName),
    /// All that match; upper and lower case differ.
    Glob(String),
}

impl EnvPattern {
    /// Reads a name or a pattern.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] for what could be no name.
    pub fn parse(text: &str) -> Result<Self> {
        if !text.contains(['*', '?']) {
            return EnvName::parse(text).map(Self::Name);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '*' | '?');
        match text.chars().find(|c| !allowed(*c)) {
            None => Ok(Self::Glob(text.to_owned())),
            Some(bad) => Err(Error::new(
                ErrorKind::InvalidName,
                format!("`{text}` can't be a pattern of envs: {bad:?} isn't allowed"),
            )),
        }
    }

    /// Whether it names more than one.
    #[must_use]
    pub fn is_glob(&self) -> bool {
        matches!(self, Self::Glob(_))
    }

    /// Whether an env is meant.
    #[must_use]
    pub fn matches(&self, env: &EnvName) -> bool {
        match self {
            Self::Name(name) => name == env,
            Self::Glob(pattern) => wildmatch::WildMatch::new(pattern).matches(env.as_str()),
        }
    }
}

impl fmt::Display for EnvPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.pad(name.as_str()),
            Self::Glob(pattern) => f.pad(pattern),
        }
    }
}

impl std::str::FromStr for EnvPattern {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_and_a_name_only_itself() {
        let matches = |pattern: &str, name: &str| {
            EnvPattern::parse(pattern)
                .unwrap()
                .matches(&name.parse().unwrap())
        };
        assert!(matches("*", "dev") && matches("fe*", "fe-1") && matches("d?v", "dev"));
        assert!(matches("dev", "dev") && !matches("dev", "dev2") && !matches("d?v", "dv"));
    }

    #[test]
    fn what_could_be_no_name_is_refused() {
        for bad in ["", "a b", "a/*", "*;", "-x", "[a-z]*"] {
            assert!(EnvPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
