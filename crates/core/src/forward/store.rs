//! Stored state of forwards: default targets and own ports of envs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shared_file::SharedFile;
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::{EnvName, GuestPort, HostPort, ListenScope};
use crate::project::Project;
use crate::proxy::Listening;
use crate::view::EnvRef;

const VERSION: u32 = 1;
/// Below the ephemeral ports (from 32768 on Linux, 49152 on macOS).
const OWN_PORT_RANGE: std::ops::RangeInclusive<u16> = 20_000..=29_999;

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
    ports: Vec<Assignment>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Assignment {
    #[serde(flatten)]
    env: EnvRef,
    guest: GuestPort,
    host: HostPort,
}

/// Default targets by port.
#[derive(Debug)]
pub(super) struct Focus(SharedFile<FocusFile>);

impl Focus {
    pub(super) fn read(home: &Home) -> Result<Self> {
        SharedFile::read(home, "focus.json", VERSION).map(Self)
    }

    /// Returns the warning about an invalid file once.
    pub(super) fn warning(&mut self) -> Option<String> {
        self.0.warning()
    }

    /// Reloads the file if another process changed it.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.0.refresh()
    }

    pub(super) fn get(&self, port: HostPort) -> Option<&EnvRef> {
        self.0.file().ports.get(&port)
    }

    /// Moves the entries of an env to its new name.
    pub(super) fn rename(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        self.0.change(|file| {
            let of_env = file.ports.values_mut().filter(|env| *env == old);
            of_env.for_each(|env| *env = new.clone());
        })
    }

    /// Stores the target of a port; returns the previous one.
    pub(super) fn set(&mut self, port: HostPort, env: &EnvRef) -> Result<Option<EnvRef>> {
        self.0.change(|file| {
            file.version = VERSION;
            file.ports.insert(port, env.clone())
        })
    }
}

/// Ports that belong to one env only.
#[derive(Debug)]
pub(super) struct OwnPorts {
    stored: SharedFile<PortsFile>,
    /// Index of the file.
    assigned: HashMap<Key, HostPort>,
}

impl OwnPorts {
    pub(super) fn read(home: &Home) -> Result<Self> {
        let mut own_ports = Self {
            stored: SharedFile::read(home, "ports.json", VERSION)?,
            assigned: HashMap::new(),
        };
        own_ports.index();
        Ok(own_ports)
    }

    /// Returns the warning about an invalid file once.
    pub(super) fn warning(&mut self) -> Option<String> {
        self.stored.warning()
    }

    /// Reloads the file if another process changed it.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.stored.refresh()?;
        self.index();
        Ok(())
    }

    fn index(&mut self) {
        let assigned = self.stored.file().ports.iter();
        let assigned =
            assigned.map(|assigned| ((assigned.env.clone(), assigned.guest), assigned.host));
        self.assigned = assigned.collect();
    }

    /// Returns the own port of an env port, unless it is also a shared port.
    pub(super) fn get(&self, key: &Key, shared: &BTreeSet<HostPort>) -> Option<HostPort> {
        let assigned = self.assigned.get(key).copied();
        assigned.filter(|host| !shared.contains(host))
    }

    /// Assigns an own port to each key without one.
    ///
    /// # Errors
    /// `Conflict` if all are assigned.
    pub(super) fn assign(
        &mut self,
        keys: &[Key],
        shared: &BTreeSet<HostPort>,
        listening: &Listening,
    ) -> Result<()> {
        let path = self.stored.path().to_path_buf();
        let all = self
            .stored
            .change(|file| file.assign(keys, shared, listening, &path))?;
        self.index();
        if all {
            Ok(())
        } else {
            let message = "all ports from 20000 to 29999 are assigned to envs";
            Err(Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("delete {}", path.display())))
        }
    }

    /// Moves the entries of an env to its new name.
    pub(super) fn rename(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        self.stored.change(|file| file.rename(old, new))?;
        self.index();
        Ok(())
    }
}

impl PortsFile {
    /// Assigns each key its first free candidate. Returns whether all have one.
    fn assign(
        &mut self,
        keys: &[Key],
        shared: &BTreeSet<HostPort>,
        listening: &Listening,
        path: &Path,
    ) -> bool {
        self.version = VERSION;
        let mut in_use: BTreeSet<HostPort> =
            self.ports.iter().map(|assigned| assigned.host).collect();
        let (mut all, mut is_cleared) = (true, false);
        for key in keys {
            let known = self.ports.iter().find(|assigned| assigned.is_of(key));
            if known.is_some_and(|assigned| !shared.contains(&assigned.host)) {
                continue;
            }
            let is_free = |port: &HostPort| {
                !in_use.contains(port)
                    && !shared.contains(port)
                    && listening.is_free(*port, ListenScope::Loopback)
            };
            let mut found = candidates(path, key).find(is_free);
            if found.is_none() && !std::mem::replace(&mut is_cleared, true) {
                self.drop_unlisted();
                in_use = self.ports.iter().map(|assigned| assigned.host).collect();
                found = candidates(path, key).find(|port| {
                    !in_use.contains(port)
                        && !shared.contains(port)
                        && listening.is_free(*port, ListenScope::Loopback)
                });
            }
            let Some(host) = found else {
                all = false;
                continue;
            };
            in_use.insert(host);
            self.ports.retain(|assigned| !assigned.is_of(key));
            self.ports.push(Assignment {
                env: key.0.clone(),
                guest: key.1,
                host,
            });
        }
        all
    }

    /// Drops the ports of envs that no file lists. Until all are assigned, an env that comes back has its own again.
    fn drop_unlisted(&mut self) {
        let mut listed: HashMap<String, HashSet<EnvName>> = HashMap::new();
        self.ports.retain(|Assignment { env, .. }| {
            let envs = listed.entry(env.project_path.clone()).or_insert_with(|| {
                let project = Project::open(Path::new(&env.project_path));
                let envs = project.map(|project| project.file().env_names());
                envs.unwrap_or_default().into_iter().collect()
            });
            envs.contains(&env.env)
        });
    }

    fn rename(&mut self, old: &EnvRef, new: &EnvRef) {
        let of_old = self.ports.iter().filter(|assigned| assigned.env == *old);
        let carried: Vec<GuestPort> = of_old.map(|assigned| assigned.guest).collect();
        // Drop entries of an earlier env with the new name.
        self.ports
            .retain(|assigned| assigned.env != *new || !carried.contains(&assigned.guest));
        let of_old = self
            .ports
            .iter_mut()
            .filter(|assigned| assigned.env == *old);
        of_old.for_each(|assigned| assigned.env = new.clone());
    }
}

impl Assignment {
    fn is_of(&self, (env, guest): &Key) -> bool {
        self.env == *env && self.guest == *guest
    }
}

/// Returns all ports of the range, starting at a hash of home and key, so that users of one host rarely collide.
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
    let (first, last) = (*OWN_PORT_RANGE.start(), *OWN_PORT_RANGE.end());
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

    /// Returns the own port of an env, assigned if needed.
    fn own(own_ports: &mut OwnPorts, name: &str, shared: &BTreeSet<HostPort>) -> HostPort {
        let key = (env(name), GuestPort::new(5173).unwrap());
        let listening = Listening::default();
        own_ports
            .assign(std::slice::from_ref(&key), shared, &listening)
            .unwrap();
        own_ports.get(&key, shared).unwrap()
    }

    #[test]
    fn own_port_is_permanent() {
        let (_directory, home) = home();
        let none = BTreeSet::new();
        let mut own_ports = OwnPorts::read(&home).unwrap();
        let first = own(&mut own_ports, "dev", &none);
        let second = own(&mut own_ports, "other", &none);
        assert_ne!(first, second);
        let mut later = OwnPorts::read(&home).unwrap();
        assert_eq!(own(&mut later, "other", &none), second);
        assert_eq!(own(&mut later, "dev", &none), first);
        // An earlier env with the new name does not interfere.
        own(&mut later, "new", &none);
        later.rename(&env("dev"), &env("new")).unwrap();
        let mut last = OwnPorts::read(&home).unwrap();
        assert_eq!(own(&mut last, "new", &none), first);
        // A port that became shared is replaced.
        let shared = BTreeSet::from([first]);
        assert_ne!(own(&mut last, "new", &shared), first);
    }

    #[test]
    fn changes_of_other_processes_are_kept() {
        let (_directory, home) = home();
        let [dev, other] = [5173, 8000].map(|port| HostPort::new(port).unwrap());
        let mut here = Focus::read(&home).unwrap();
        let mut there = Focus::read(&home).unwrap();
        there.set(dev, &env("dev")).unwrap();
        here.set(other, &env("other")).unwrap();
        assert_eq!(here.get(dev), Some(&env("dev")));
        assert_eq!(there.get(other), None);
        there.refresh().unwrap();
        assert_eq!(there.get(other), Some(&env("other")));
    }

    #[test]
    fn set_stores_target_and_returns_previous() {
        let (_directory, home) = home();
        let port = HostPort::new(5173).unwrap();
        let mut focus = Focus::read(&home).unwrap();
        assert_eq!(focus.set(port, &env("dev")).unwrap(), None);
        assert_eq!(focus.set(port, &env("other")).unwrap(), Some(env("dev")));
        assert_eq!(Focus::read(&home).unwrap().get(port), Some(&env("other")));
    }

    #[test]
    fn invalid_file_is_moved_away() {
        let (_directory, home) = home();
        let path = home.root().join("ports.json");
        std::fs::write(&path, "{").unwrap();
        own(&mut OwnPorts::read(&home).unwrap(), "dev", &BTreeSet::new());
        assert!(path.with_extension("json.broken").exists());
    }

    #[test]
    fn newer_file_version_is_not_overwritten() {
        let (_directory, home) = home();
        let path = home.root().join("focus.json");
        let later = r#"{"version": 2, "ports": {}, "by_project": {}}"#;
        let port = HostPort::new(5173).unwrap();
        let mut focus = Focus::read(&home).unwrap();
        // Written while the older version runs.
        std::fs::write(&path, later).unwrap();
        let error = focus.set(port, &env("dev")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(Focus::read(&home).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), later);
    }
}
