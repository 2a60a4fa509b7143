//! Identity of an engine, and the backend requested by a file.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{EngineKind, EngineProject};
use crate::error::{Error, ErrorKind, Result};

/// An engine and its project. Two addresses of one engine count as two engines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EngineId {
    pub kind: EngineKind,
    /// A socket's path, or the URL of a remote.
    pub address: String,
    /// The engine's project (not ours).
    pub project: EngineProject,
}

impl EngineId {
    /// Whether it is reached over the network.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.address.contains("://")
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind, self.address)?;
        if !self.project.is_default() {
            write!(f, ", project {}", self.project)?;
        }
        Ok(())
    }
}

/// The backend requested by a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum BackendChoice {
    /// This machine's default.
    #[default]
    Auto,
    /// LXD or Incus.
    Lxc,
    Lima,
}

impl BackendChoice {
    /// Parses `auto`, `lxc` or `lima`.
    ///
    /// # Errors
    /// `Config` for any other value.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "lxc" => Ok(Self::Lxc),
            "lima" => Ok(Self::Lima),
            other => Err(Error::new(
                ErrorKind::Config,
                format!("invalid `backend: {other}`: expected `auto`, `lxc` or `lima`"),
            )
            .with_hint("set `backend: auto` in containers.yaml, or remove it")),
        }
    }

    /// Whether it includes this kind of engine. `Auto` is Lima on macOS, LXD and Incus elsewhere.
    #[must_use]
    pub fn matches(self, kind: EngineKind) -> bool {
        let is_lima = kind == EngineKind::Lima;
        match self {
            Self::Auto => is_lima == cfg!(target_os = "macos") || kind == EngineKind::Fake,
            Self::Lxc => !is_lima,
            Self::Lima => is_lima,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_matches_kinds_of_engines() {
        let lima = BackendChoice::parse("lima").unwrap();
        assert!(lima.matches(EngineKind::Lima) && !lima.matches(EngineKind::Incus));
        let lxc = BackendChoice::parse("lxc").unwrap();
        assert!(lxc.matches(EngineKind::Lxd) && !lxc.matches(EngineKind::Lima));
        let auto = BackendChoice::parse("auto").unwrap();
        assert_ne!(
            auto.matches(EngineKind::Lima),
            auto.matches(EngineKind::Incus)
        );
        assert_eq!(
            BackendChoice::parse("Lima").unwrap_err().kind(),
            ErrorKind::Config
        );
    }
}
