//! What forwards remember: who has a port's focus, and which port is whose alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::remembered::Remembered;
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::{GuestPort, HostPort, Reach};
use crate::proxy::Listening;
use crate::view::EnvRef;

const VERSION: u32 = 1;
/// The range from which an env's own ports are given. Below the range that systems give out by themselves
/// (32768 on Linux, 49152 on macOS).
const STABLE: std::ops::RangeInclusive<u16> = 20_000..=29_999;

/// A port of an env.
pub(super) type Key = (EnvRef, GuestPort);

/// `focus.json`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct FocusFile {
    version: u32,
    ports: BTreeMap<HostPort, EnvRef>,
}

/// `ports.json`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct PortsFile {
    version: u32,
    ports: Vec<Given>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Given {
    #[serde(flatten)]
    env: EnvRef,
    guest: GuestPort,
    host: HostPort,
}

/// Who has the focus of each port.
#[derive(Debug)]
pub(super) struct Focus(Remembered<FocusFile>);

impl Focus {
    pub(super) fn read(home: &Home) -> Result<Self> {
        Remembered::read(home, "focus.json", VERSION).map(Self)
    }

    /// What is to be said about the file, once.
    pub(super) fn warning(&mut self) -> Option<String> {
        self.0.warning()
    }

    /// Takes what other processes have written since.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.0.refresh()
    }

    pub(super) fn of(&self, port: HostPort) -> Option<&EnvRef> {
        self.0.file().ports.get(&port)
    }

    /// Carries what an env has over to its new name.
    pub(super) fn rename(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        self.0.change(|file| {
            let of_env = file.ports.values_mut().filter(|env| *env == old);
            of_env.for_each(|env| *env = new.clone());
        })
    }

    /// Remembers; returns who had it before.
    pub(super) fn set(&mut self, port: HostPort, env: &EnvRef) -> Result<Option<EnvRef>> {
        self.0.change(|file| {
            file.version = VERSION;
            file.ports.insert(port, env.clone())
        })
    }
}

/// The ports that are one env's alone.
#[derive(Debug)]
pub(super) struct Stable {
    kept: Remembered<PortsFile>,
    /// The same, to be found fast.
    given: HashMap<Key, HostPort>,
}

impl Stable {
    pub(super) fn read(home: &Home) -> Result<Self> {
        let mut stable = Self {
            kept: Remembered::read(home, "ports.json", VERSION)?,
            given: HashMap::new(),
        };
        stable.index();
        Ok(stable)
    }

    /// What is to be said about the file, once.
    pub(super) fn warning(&mut self) -> Option<String> {
        self.kept.warning()
    }

    /// Takes what other processes have written since.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.kept.refresh()?;
        self.index();
        Ok(())
    }

    fn index(&mut self) {
        let given = self.kept.file().ports.iter();
        let given = given.map(|given| ((given.env.clone(), given.guest), given.host));
        self.given = given.collect();
    }

    /// The port of its own that a port of an env has, where that is not one of the ports that envs share.
    pub(super) fn of(&self, key: &Key, shared: &BTreeSet<HostPort>) -> Option<HostPort> {
        let given = self.given.get(key).copied();
        given.filter(|host| !shared.contains(host))
    }

    /// Gives each of these a port of its own, unless another process has by now.
    ///
    /// # Errors
    /// `Conflict` where all are given.
    pub(super) fn give(
        &mut self,
        keys: &[Key],
        shared: &BTreeSet<HostPort>,
        listening: &Listening,
    ) -> Result<()> {
        let path = self.kept.path().to_path_buf();
        let all = self
            .kept
            .change(|file| file.give(keys, shared, listening, &path))?;
        self.index();
        match all {
            true => Ok(()),
            false => {
                let message = "every port from 20000 to 29999 has been given to an env";
                Err(Error::new(ErrorKind::Conflict, message)
                    .with_hint(format!("delete {}", path.display())))
            }
        }
    }

    /// Carries what an env has over to its new name.
    pub(super) fn rename(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        self.kept.change(|file| file.rename(old, new))?;
        self.index();
        Ok(())
    }
}

impl PortsFile {
    /// Gives each the first of its candidates that nobody has; whether each has one then.
    fn give(
        &mut self,
        keys: &[Key],
        shared: &BTreeSet<HostPort>,
        listening: &Listening,
        path: &Path,
    ) -> bool {
        self.version = VERSION;
        let mut taken: BTreeSet<HostPort> = self.ports.iter().map(|given| given.host).collect();
        let mut all = true;
        for key in keys {
            let known = self.ports.iter().find(|given| given.is_of(key));
            if known.is_some_and(|given| !shared.contains(&given.host)) {
                continue;
            }
            let is_free = |port: &HostPort| {
                !taken.contains(port)
                    && !shared.contains(port)
                    && listening.is_free(*port, Reach::Loopback)
            };
            let Some(host) = candidates(path, key).find(is_free) else {
                all = false;
                continue;
            };
            taken.insert(host);
            self.ports.retain(|given| !given.is_of(key));
            self.ports.push(Given {
                env: key.0.clone(),
                guest: key.1,
                host,
            });
        }
        all
    }

    fn rename(&mut self, old: &EnvRef, new: &EnvRef) {
        let of_old = self.ports.iter().filter(|given| given.env == *old);
        let carried: Vec<GuestPort> = of_old.map(|given| given.guest).collect();
        // An env that had this name once has left its ports behind.
        self.ports
            .retain(|given| given.env != *new || !carried.contains(&given.guest));
        let of_old = self.ports.iter_mut().filter(|given| given.env == *old);
        of_old.for_each(|given| given.env = new.clone());
    }
}

impl Given {
    fn is_of(&self, (env, guest): &Key) -> bool {
        self.env == *env && self.guest == *guest
    }
}

/// All ports of the range, from one on that depends on whose it is: users of one machine don't know of
/// each other's, and should not begin with the same one.
fn candidates(path: &Path, (env, guest): &Key) -> impl Iterator<Item = HostPort> + use<> {
    let mut hash = Sha256::new();
    for part in [
        path.as_os_str().as_bytes(),
        env.project_path.as_bytes(),
        env.env.as_str().as_bytes(),
    ] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(guest.get().to_be_bytes());
    let digest = hash.finalize();
    let (first, last) = (*STABLE.start(), *STABLE.end());
    let start = first + u16::from_be_bytes([digest[0], digest[1]]) % (last - first + 1);
    (start..=last).chain(first..start).filter_map(HostPort::new)
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

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        (directory, home)
    }

    /// The port of its own that an env has, given where it has none.
    fn own(stable: &mut Stable, name: &str, shared: &BTreeSet<HostPort>) -> HostPort {
        let key = (env(name), GuestPort::new(5173).unwrap());
        let listening = Listening::default();
        stable
            .give(std::slice::from_ref(&key), shared, &listening)
            .unwrap();
        stable.of(&key, shared).unwrap()
    }

    #[test]
    fn an_own_port_is_given_once_and_for_all() {
        let (_directory, home) = home();
        let none = BTreeSet::new();
        let mut stable = Stable::read(&home).unwrap();
        let first = own(&mut stable, "dev", &none);
        let second = own(&mut stable, "other", &none);
        assert_ne!(first, second);
        let mut later = Stable::read(&home).unwrap();
        assert_eq!(own(&mut later, "other", &none), second);
        assert_eq!(own(&mut later, "dev", &none), first);
        // An env that was called so before doesn't come between.
        own(&mut later, "new", &none);
        later.rename(&env("dev"), &env("new")).unwrap();
        let mut last = Stable::read(&home).unwrap();
        assert_eq!(own(&mut last, "new", &none), first);
        // It has become a port that envs share: it must not lead to whoever has the focus.
        let shared = BTreeSet::from([first]);
        assert_ne!(own(&mut last, "new", &shared), first);
    }

    #[test]
    fn what_another_process_has_written_is_kept() {
        let (_directory, home) = home();
        let [dev, other] = [5173, 8000].map(|port| HostPort::new(port).unwrap());
        let mut here = Focus::read(&home).unwrap();
        let mut there = Focus::read(&home).unwrap();
        there.set(dev, &env("dev")).unwrap();
        here.set(other, &env("other")).unwrap();
        assert_eq!(here.of(dev), Some(&env("dev")));
        assert_eq!(there.of(other), None);
        there.refresh().unwrap();
        assert_eq!(there.of(other), Some(&env("other")));
    }

    #[test]
    fn the_focus_is_remembered_and_who_had_it_is_told() {
        let (_directory, home) = home();
        let port = HostPort::new(5173).unwrap();
        let mut focus = Focus::read(&home).unwrap();
        assert_eq!(focus.set(port, &env("dev")).unwrap(), None);
        assert_eq!(focus.set(port, &env("other")).unwrap(), Some(env("dev")));
        assert_eq!(Focus::read(&home).unwrap().of(port), Some(&env("other")));
    }

    #[test]
    fn what_cant_be_read_is_set_aside_and_begun_anew() {
        let (_directory, home) = home();
        let path = home.root().join("ports.json");
        std::fs::write(&path, "{").unwrap();
        own(&mut Stable::read(&home).unwrap(), "dev", &BTreeSet::new());
        assert!(path.with_extension("json.broken").exists());
    }

    #[test]
    fn what_a_newer_version_wrote_is_not_overwritten() {
        let (_directory, home) = home();
        let path = home.root().join("focus.json");
        let later = r#"{"version": 2, "ports": {}, "by_project": {}}"#;
        let port = HostPort::new(5173).unwrap();
        let mut focus = Focus::read(&home).unwrap();
        // It comes while an older one runs.
        std::fs::write(&path, later).unwrap();
        let error = focus.set(port, &env("dev")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(Focus::read(&home).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), later);
    }
}
