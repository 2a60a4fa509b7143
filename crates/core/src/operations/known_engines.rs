//! The engines that have ever had envs of this home.
//!
//! An unreachable engine may have envs only if it is among them. Other engines of the machine (half
//! uninstalled, or closed to this user) are ignored.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::home::{Home, read_json, write_json};
use crate::model::EngineId;

const VERSION: u32 = 2;

/// `engines.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    version: u32,
    used: BTreeSet<EngineId>,
}

#[derive(Default)]
pub(super) struct KnownEngines {
    /// Cached; other processes may have added more to the file.
    known: Mutex<BTreeSet<EngineId>>,
}

impl KnownEngines {
    /// Whether the engine has ever had an env.
    pub(super) fn contains(&self, home: &Home, engine: &EngineId) -> Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(engine) {
            known.extend(read(home)?.used);
        }
        Ok(known.contains(engine))
    }

    /// Adds an engine that has an env.
    pub(super) fn add(&self, home: &Home, engine: &EngineId) -> Result<()> {
        if self.contains(home, engine)? {
            return Ok(());
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(engine.clone());
        let file = File {
            version: VERSION,
            used: known.clone(),
        };
        write_json(&home.root().join("engines.json"), &file)
    }
}

fn read(home: &Home) -> Result<File> {
    let path = home.root().join("engines.json");
    Ok(read_json(&path, VERSION)?.0.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EngineKind, EngineProject};

    #[test]
    fn known_engines_are_shared_between_processes() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let [a, b, c] = ["/a", "/b", "/c"].map(|address| EngineId {
            kind: EngineKind::Incus,
            address: address.to_owned(),
            project: EngineProject::default_project(),
        });
        assert!(!KnownEngines::default().contains(&home, &a).unwrap());
        KnownEngines::default().add(&home, &a).unwrap();
        KnownEngines::default().add(&home, &b).unwrap();
        let other = KnownEngines::default();
        assert!(other.contains(&home, &a).unwrap());
        assert!(other.contains(&home, &b).unwrap());
        assert!(!other.contains(&home, &c).unwrap());
    }
}
