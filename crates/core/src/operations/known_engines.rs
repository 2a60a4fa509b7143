//! Which engines this home has had envs in.
//!
//! A machine may have an engine that has nothing to do with us: one that was removed but for its
//! data, one that this user may not use. What such a one holds is of no interest. One that has held
//! an env of ours and doesn't answer may hold it still.

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

/// The engines that are known to have held an env.
#[derive(Default)]
pub(super) struct KnownEngines {
    /// What this process has read or written; the file may have more by now.
    known: Mutex<BTreeSet<EngineId>>,
}

impl KnownEngines {
    /// Whether an env of ours was ever seen at this address.
    pub(super) fn contains(&self, home: &Home, engine: &EngineId) -> Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(engine) {
            known.extend(read(home)?.used);
        }
        Ok(known.contains(engine))
    }

    /// Remembers an engine in which an env of ours was seen or made.
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
    fn an_engine_stays_used_for_other_processes() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let [a, b, c] = ["/a", "/b", "/c"].map(|address| EngineId {
            kind: EngineKind::Incus,
            address: address.to_owned(),
            project: EngineProject::default_one(),
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
