//! Patterns of env names.

use std::fmt;

use super::EnvName;
use crate::error::{Error, ErrorKind, Result};

/// An env's name, or a pattern: `*` matches any characters, `?` one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvPattern {
    Name(EnvName),
    /// A case-sensitive pattern.
    Glob(String),
}

impl EnvPattern {
    /// Parses a name or a pattern.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`].
    pub fn parse(text: &str) -> Result<Self> {
        if !text.contains(['*', '?']) {
            return EnvName::parse(text).map(Self::Name);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '*' | '?');
        match text.chars().find(|c| !allowed(*c)) {
            None => Ok(Self::Glob(text.to_owned())),
            Some(bad) => Err(Error::new(
                ErrorKind::InvalidName,
                format!("invalid env pattern `{text}`: {bad:?} is not allowed"),
            )),
        }
    }

    /// Whether it is a pattern.
    #[must_use]
    pub fn is_glob(&self) -> bool {
        matches!(self, Self::Glob(_))
    }

    /// Whether it matches an env.
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
    fn matches_patterns_and_exact_names() {
        let matches = |pattern: &str, name: &str| {
            EnvPattern::parse(pattern)
                .unwrap()
                .matches(&name.parse().unwrap())
        };
        assert!(matches("*", "dev") && matches("fe*", "fe-1") && matches("d?v", "dev"));
        assert!(matches("dev", "dev") && !matches("dev", "dev2") && !matches("d?v", "dv"));
    }

    #[test]
    fn rejects_invalid_patterns() {
        for bad in ["", "a b", "a/*", "*;", "-x", "[a-z]*"] {
            assert!(EnvPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
