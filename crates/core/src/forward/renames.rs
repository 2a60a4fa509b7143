//! Which envs have got other names of late: for processes that know them by their old ones.

use serde::{Deserialize, Serialize};

use super::plan::Scope;
use super::remembered::Remembered;
use crate::error::Result;
use crate::home::Home;
use crate::view::EnvRef;

const VERSION: u32 = 1;
/// How many are kept: more than happen while a process doesn't look.
const KEPT: usize = 256;

/// `renames.json`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct File {
    version: u32,
    /// The number of the newest: they are counted on for as long as the file lasts.
    last: u64,
    renames: Vec<Rename>,
}

/// An env that is called otherwise now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rename {
    number: u64,
    old: EnvRef,
    new: EnvRef,
}

/// The renames, and how far somebody has followed them.
#[derive(Debug)]
pub(super) struct Renames {
    kept: Remembered<File>,
    seen: u64,
}

impl Renames {
    /// Begins to follow with what comes next.
    pub(super) fn read(home: &Home) -> Result<Self> {
        let kept = Remembered::<File>::read(home, "renames.json", VERSION)?;
        let seen = kept.file().last;
        Ok(Self { kept, seen })
    }

    pub(super) fn add(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        self.kept.change(|file| {
            file.version = VERSION;
            file.last += 1;
            file.renames.push(Rename {
                number: file.last,
                old: old.clone(),
                new: new.clone(),
            });
            let over = file.renames.len().saturating_sub(KEPT);
            file.renames.drain(..over);
        })
    }

    /// Whether the last that is known of one of these names is that it was given up for the other.
    pub(super) fn ends_with(&self, old: &EnvRef, new: &EnvRef) -> bool {
        let of_them = |known: &&Rename| {
            [&known.old, &known.new]
                .iter()
                .any(|env| [old, new].contains(env))
        };
        let last = self.kept.file().renames.iter().rev().find(of_them);
        last.is_some_and(|known| known.old == *old && known.new == *new)
    }

    /// What came since this was asked last, the oldest first: old names with new ones.
    pub(super) fn fresh(&mut self) -> Result<Vec<(EnvRef, EnvRef)>> {
        self.kept.refresh()?;
        let file = self.kept.file();
        let fresh = file.renames.iter().filter(|known| known.number > self.seen);
        let fresh = fresh.map(|known| (known.old.clone(), known.new.clone()));
        let fresh = fresh.collect();
        self.seen = file.last;
        Ok(fresh)
    }
}

/// What an env is called after all of these.
pub(super) fn followed(env: &EnvRef, renames: &[(EnvRef, EnvRef)]) -> EnvRef {
    let mut name = env;
    for (old, new) in renames {
        if name == old {
            name = new;
        }
    }
    name.clone()
}

impl Scope {
    /// Means the same env by the name that it has after all of these.
    pub(super) fn follow(&mut self, renames: &[(EnvRef, EnvRef)]) {
        if let Self::Env { env } = self {
            *env = followed(env, renames);
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
    fn each_follower_sees_what_came_since_it_began_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let mut early = Renames::read(&home).unwrap();
        let mut writer = Renames::read(&home).unwrap();
        writer.add(&env("a"), &env("b")).unwrap();
        let mut late = Renames::read(&home).unwrap();
        writer.add(&env("b"), &env("c")).unwrap();
        let fresh = early.fresh().unwrap();
        assert_eq!(followed(&env("a"), &fresh), env("c"));
        assert_eq!(early.fresh().unwrap(), []);
        // An env of that name that was made afterwards is another one.
        let fresh = late.fresh().unwrap();
        assert_eq!(followed(&env("a"), &fresh), env("a"));
        assert_eq!(followed(&env("b"), &fresh), env("c"));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let mut renames = Renames::read(&home).unwrap();
        for _ in 0..KEPT {
            renames.add(&env("a"), &env("b")).unwrap();
        }
        renames.add(&env("b"), &env("c")).unwrap();
        let fresh = renames.fresh().unwrap();
        assert_eq!(fresh.len(), KEPT);
        assert_eq!(fresh.last(), Some(&(env("b"), env("c"))));
    }
}
