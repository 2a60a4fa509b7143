//! Which engine: the first part of an env's identity.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{EngineKind, EngineProject};

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

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind, self.address)?;
        if !self.project.is_default() {
            write!(f, ", project {}", self.project)?;
        }
        Ok(())
    }
}
