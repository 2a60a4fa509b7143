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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// Whichever this machine has.
    #[default]
    Auto,
    /// LXD or Incus.
    Lxc,
    /// Lima, which isn't there yet.
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

    /// Whether this program has such a backend.
    ///
    /// # Errors
    /// `Unsupported` for Lima.
    pub fn expect_supported(self) -> Result<()> {
        match self {
            Self::Auto | Self::Lxc => Ok(()),
            Self::Lima => Err(Error::new(
                ErrorKind::Unsupported,
                "`backend: lima` isn't there yet: envs are made by LXD or Incus",
            )
            .with_hint("write `backend: lxc` in containers.yaml")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_is_not_there_yet_is_refused_where_it_is_used() {
        assert!(
            BackendChoice::parse("auto")
                .unwrap()
                .expect_supported()
                .is_ok()
        );
        let lima = BackendChoice::parse("lima").unwrap();
        let error = lima.expect_supported().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("lxc"));
        assert_eq!(
            BackendChoice::parse("Lima").unwrap_err().kind(),
            ErrorKind::Config
        );
    }
}
