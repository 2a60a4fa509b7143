//! Which engine: the first part of an env's identity; and which kind of backend a file asks for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{EngineKind, EngineProject};
use crate::error::{Error, ErrorKind, Result};

/// An engine and the project in it. Two names of one engine (two ways to its socket, say) are two
/// engines to us.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EngineId {
    /// Which kind.
    pub kind: EngineKind,
    /// Where it answers: a socket's path, or the URL of a remote.
    pub address: String,
    /// The project in the engine (not ours).
    pub project: EngineProject,
}

impl EngineId {
    /// Whether it is reached over the network, and not by a socket of this machine.
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

/// Which backend a file asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum BackendChoice {
    /// Whichever this machine has.
    #[default]
    Auto,
    /// LXD or Incus.
    Lxc,
    /// Lima.
    Lima,
}

impl BackendChoice {
    /// Reads `auto`, `lxc` or `lima`.
    ///
    /// # Errors
    /// `Config` for any other word.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "auto" => Ok(Self::Auto),
            "lxc" => Ok(Self::Lxc),
            "lima" => Ok(Self::Lima),
            other => Err(Error::new(
                ErrorKind::Config,
                format!("`backend: {other}` is none of auto, lxc and lima"),
            )
            .with_hint("write `backend: auto` in containers.yaml, or leave it out")),
        }
    }

    /// Whether an engine of this kind is meant. Where nothing is asked for, it is Lima on macOS and LXD or
    /// Incus elsewhere.
    #[must_use]
    pub fn means(self, kind: EngineKind) -> bool {
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
    fn a_file_says_which_kind_it_means() {
        let lima = BackendChoice::parse("lima").unwrap();
        assert!(lima.means(EngineKind::Lima) && !lima.means(EngineKind::Incus));
        let lxc = BackendChoice::parse("lxc").unwrap();
        assert!(lxc.means(EngineKind::Lxd) && !lxc.means(EngineKind::Lima));
        let auto = BackendChoice::parse("auto").unwrap();
        assert_ne!(auto.means(EngineKind::Lima), auto.means(EngineKind::Incus));
        assert_eq!(
            BackendChoice::parse("Lima").unwrap_err().kind(),
            ErrorKind::Config
        );
    }
}
