//! What forwards remember: who has a port's focus, and which port is whose alone.

use std::collections::{BTreeMap, BTreeSet};
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
pub(super) struct Stable(Remembered<PortsFile>);

impl Stable {
    pub(super) fn read(home: &Home) -> Result<Self> {
        Remembered::read(home, "ports.json", VERSION).map(Self)
    }

    /// What is to be said about the file, once.
    pub(super) fn warning(&mut self) -> Option<String> {
        self.0.warning()
    }

    /// Takes what other processes have written since.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.0.refresh()
    }

    /// The port of its own that a port of an env has, where that is not one of the ports that envs share.
    pub(super) fn known(&self, key: &Key, shared: &BTreeSet<HostPort>) -> Option<HostPort> {
        self.0.file().known(key, shared)
    }

    /// The port of its own that a port of an env has; one is given where it has none yet, or where the one
    /// that it had has become one of the ports that envs share.
    ///
    /// # Errors
    /// `Conflict` where all are given.
    pub(super) fn of(
        &mut self,
        key: &Key,
        shared: &BTreeSet<HostPort>,
        listening: &Listening,
    ) -> Result<HostPort> {
        if let Some(host) = self.known(key, shared) {
            return Ok(host);
        }
        let candidates = candidates(self.0.path(), key);
        let host = self.0.change(|file| {
            // Another process may have given it meanwhile.
            let known = file.known(key, shared);
            known.or_else(|| file.give(key, shared, candidates, listening))
        })?;
        host.ok_or_else(|| {
            let message = "every port from 20000 to 29999 has been given to an env";
            Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("delete {}", self.0.path().display()))
        })
    }

    /// Carries what an env has over to its new name.
    pub(super) fn rename(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        self.0.change(|file| {
            let of_old = file.ports.iter().filter(|given| given.env == *old);
            let carried: Vec<GuestPort> = of_old.map(|given| given.guest).collect();
            // An env that had this name once has left its ports behind.
            file.ports
                .retain(|given| given.env != *new || !carried.contains(&given.guest));
            let of_old = file.ports.iter_mut().filter(|given| given.env == *old);
            of_old.for_each(|given| given.env = new.clone());
        })
    }
}

impl PortsFile {
    fn known(&self, key: &Key, shared: &BTreeSet<HostPort>) -> Option<HostPort> {
        let given = self.ports.iter().find(|given| given.is_of(key))?;
        Some(given.host).filter(|host| !shared.contains(host))
    }

    /// Gives the first of the candidates that nobody has.
    fn give(
        &mut self,
        key: &Key,
        shared: &BTreeSet<HostPort>,
        mut candidates: impl Iterator<Item = HostPort>,
        listening: &Listening,
    ) -> Option<HostPort> {
        let given: BTreeSet<HostPort> = self.ports.iter().map(|given| given.host).collect();
        let host = candidates.find(|port| {
            let is_free = listening.is_free(*port, Reach::Loopback);
            !given.contains(port) && !shared.contains(port) && is_free
        })?;
        self.version = VERSION;
        self.ports.retain(|given| !given.is_of(key));
        self.ports.push(Given {
            env: key.0.clone(),
            guest: key.1,
            host,
        });
        Some(host)
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

    fn none() -> BTreeSet<HostPort> {
        BTreeSet::new()
    }

    fn nobody() -> Listening {
        Listening::default()
    }

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        (directory, home)
    }

    #[test]
    fn an_own_port_is_given_once_and_for_all() {
        let (_directory, home) = home();
        let guest = GuestPort::new(5173).unwrap();
        let mut stable = Stable::read(&home).unwrap();
        let first = stable.of(&(env("dev"), guest), &none(), &nobody()).unwrap();
        let second = stable
            .of(&(env("other"), guest), &none(), &nobody())
            .unwrap();
        assert_ne!(first, second);
        let mut later = Stable::read(&home).unwrap();
        assert_eq!(
            later
                .of(&(env("other"), guest), &none(), &nobody())
                .unwrap(),
            second
        );
        assert_eq!(
            later.of(&(env("dev"), guest), &none(), &nobody()).unwrap(),
            first
        );
        // An env that was called so before doesn't come between.
        later.of(&(env("new"), guest), &none(), &nobody()).unwrap();
        later.rename(&env("dev"), &env("new")).unwrap();
        let mut last = Stable::read(&home).unwrap();
        assert_eq!(
            last.of(&(env("new"), guest), &none(), &nobody()).unwrap(),
            first
        );
        // It has become a port that envs share: it must not lead to whoever has the focus.
        let shared = BTreeSet::from([first]);
        assert_ne!(
            last.of(&(env("new"), guest), &shared, &nobody()).unwrap(),
            first
        );
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
        let guest = GuestPort::new(1).unwrap();
        assert!(
            Stable::read(&home)
                .unwrap()
                .of(&(env("dev"), guest), &none(), &nobody())
                .is_ok()
        );
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
