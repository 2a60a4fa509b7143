//! Log of recent env renames, for other processes that use the old names.

use serde::{Deserialize, Serialize};

use super::plan::Scope;
use super::shared_file::SharedFile;
use crate::error::Result;
use crate::home::Home;
use crate::view::EnvRef;

const VERSION: u32 = 1;
/// More than happen between two reads of a process.
const MAX_RENAMES: usize = 256;

/// `renames.json`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct File {
    version: u32,
    /// Number of the newest rename.
    last: u64,
    renames: Vec<Rename>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rename {
    number: u64,
    old: EnvRef,
    new: EnvRef,
}

/// The log with a read position.
#[derive(Debug)]
pub(super) struct Renames {
    log: SharedFile<File>,
    seen: u64,
}

impl Renames {
    /// Opens the log at its end.
    pub(super) fn read(home: &Home) -> Result<Self> {
        let log = SharedFile::<File>::read(home, "renames.json", VERSION)?;
        let seen = log.file().last;
        Ok(Self { log, seen })
    }

    pub(super) fn add(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        self.log.change(|file| {
            file.version = VERSION;
            file.last += 1;
            file.renames.push(Rename {
                number: file.last,
                old: old.clone(),
                new: new.clone(),
            });
            let excess = file.renames.len().saturating_sub(MAX_RENAMES);
            file.renames.drain(..excess);
        })
    }

    /// Whether this is the last rename that concerns either env.
    pub(super) fn is_last(&self, old: &EnvRef, new: &EnvRef) -> bool {
        let of_them = |known: &&Rename| {
            [&known.old, &known.new]
                .iter()
                .any(|env| [old, new].contains(env))
        };
        let last = self.log.file().renames.iter().rev().find(of_them);
        last.is_some_and(|known| known.old == *old && known.new == *new)
    }

    /// Returns the renames since the last call as (old, new), oldest first.
    pub(super) fn take_new(&mut self) -> Result<Vec<(EnvRef, EnvRef)>> {
        self.log.refresh()?;
        let file = self.log.file();
        let new_renames = file.renames.iter().filter(|known| known.number > self.seen);
        let new_renames = new_renames.map(|known| (known.old.clone(), known.new.clone()));
        let new_renames = new_renames.collect();
        self.seen = file.last;
        Ok(new_renames)
    }
}

/// Returns the name of an env after these renames.
pub(super) fn resolve(env: &EnvRef, renames: &[(EnvRef, EnvRef)]) -> EnvRef {
    let mut name = env;
    for (old, new) in renames {
        if name == old {
            name = new;
        }
    }
    name.clone()
}

impl Scope {
    /// Applies renames to the scope.
    pub(super) fn apply_renames(&mut self, renames: &[(EnvRef, EnvRef)]) {
        if let Self::Env { env } = self {
            *env = resolve(env, renames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> EnvRef {
        EnvRef {
            project_path: "/web".to_owned(),
            env: name.parse().unwrap(),
        }
    }

    #[test]
    fn each_reader_sees_new_renames_once() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let mut early = Renames::read(&home).unwrap();
        let mut writer = Renames::read(&home).unwrap();
        writer.add(&env("a"), &env("b")).unwrap();
        let mut late = Renames::read(&home).unwrap();
        writer.add(&env("b"), &env("c")).unwrap();
        let new_renames = early.take_new().unwrap();
        assert_eq!(resolve(&env("a"), &new_renames), env("c"));
        assert_eq!(early.take_new().unwrap(), []);
        // A later env with the old name is a different one.
        let new_renames = late.take_new().unwrap();
        assert_eq!(resolve(&env("a"), &new_renames), env("a"));
        assert_eq!(resolve(&env("b"), &new_renames), env("c"));
    }

    #[test]
    fn oldest_renames_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let mut renames = Renames::read(&home).unwrap();
        for _ in 0..MAX_RENAMES {
            renames.add(&env("a"), &env("b")).unwrap();
        }
        renames.add(&env("b"), &env("c")).unwrap();
        let new_renames = renames.take_new().unwrap();
        assert_eq!(new_renames.len(), MAX_RENAMES);
        assert_eq!(new_renames.last(), Some(&(env("b"), env("c"))));
    }
}
