//! What forwards remember: who has a port's focus, and which port is whose alone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::home::{Home, read_json, write_json};
use crate::model::{GuestPort, HostPort};
use crate::proxy::is_free;
use crate::view::EnvRef;

const VERSION: u32 = 1;
/// The range from which an env's own ports are given. Below the range that systems give out by themselves
/// (32768 on Linux, 49152 on macOS).
const STABLE: std::ops::RangeInclusive<u16> = 20_000..=29_999;

/// A port of an env.
pub(super) type Key = (EnvRef, GuestPort);

/// `focus.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct FocusFile {
    version: u32,
    ports: BTreeMap<HostPort, EnvRef>,
}

/// `ports.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
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
#[derive(Debug, Default)]
pub(super) struct Focus {
    path: PathBuf,
    ports: BTreeMap<HostPort, EnvRef>,
}

impl Focus {
    pub(super) fn read(home: &Home) -> Result<Self> {
        let path = home.root().join("focus.json");
        let (file, warning) = read_json::<FocusFile>(&path)?;
        warn(warning);
        let ports = file.unwrap_or_default().ports;
        Ok(Self { path, ports })
    }

    pub(super) fn of(&self, port: HostPort) -> Option<&EnvRef> {
        self.ports.get(&port)
    }

    /// Carries what an env has over to its new name.
    pub(super) fn rename(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        let of_env = self.ports.iter().filter(|(_, env)| *env == old);
        let ports: Vec<HostPort> = of_env.map(|(port, _)| *port).collect();
        for port in ports {
            self.set(port, new)?;
        }
        Ok(())
    }

    /// Remembers; returns who had it before.
    pub(super) fn set(&mut self, port: HostPort, env: &EnvRef) -> Result<Option<EnvRef>> {
        let mut ports = self.ports.clone();
        let before = ports.insert(port, env.clone());
        if before.as_ref() != Some(env) {
            let version = VERSION;
            let file = FocusFile { version, ports };
            // First, so that a full disk leaves all as it was.
            write_json(&self.path, &file)?;
            self.ports = file.ports;
        }
        Ok(before)
    }
}

/// The ports that are one env's alone.
#[derive(Debug, Default)]
pub(super) struct Stable {
    path: PathBuf,
    given: Vec<Given>,
}

impl Stable {
    pub(super) fn read(home: &Home) -> Result<Self> {
        let path = home.root().join("ports.json");
        let (file, warning) = read_json::<PortsFile>(&path)?;
        warn(warning);
        let given = file.unwrap_or_default().ports;
        Ok(Self { path, given })
    }

    /// The port of its own that a port of an env has; one is given where it has none yet, or where the one
    /// that it had has become one of the ports that envs share.
    ///
    /// # Errors
    /// `Conflict` where all are given.
    pub(super) fn of(
        &mut self,
        (env, guest): &Key,
        shared: &BTreeSet<HostPort>,
    ) -> Result<HostPort> {
        let is_it = |given: &Given| given.env == *env && given.guest == *guest;
        let known = self.given.iter().find(|given| is_it(given));
        if let Some(given) = known.filter(|given| !shared.contains(&given.host)) {
            return Ok(given.host);
        }
        let free = |port: &HostPort| {
            let is_given = self.given.iter().any(|given| given.host == *port);
            !is_given && !shared.contains(port) && is_free(*port)
        };
        let mut candidates = candidates(&self.path, env, *guest);
        let host = candidates.find(free).ok_or_else(|| {
            let message = "every port from 20000 to 29999 has been given to an env";
            Error::new(ErrorKind::Conflict, message)
                .with_hint(format!("delete {}", self.path.display()))
        })?;
        let mut given = self.given.clone();
        given.retain(|given| !is_it(given));
        given.push(Given {
            env: env.clone(),
            guest: *guest,
            host,
        });
        self.write(given)?;
        Ok(host)
    }

    /// Carries what an env has over to its new name.
    pub(super) fn rename(&mut self, old: &EnvRef, new: &EnvRef) -> Result<()> {
        let mut all = self.given.clone();
        for given in all.iter_mut().filter(|given| given.env == *old) {
            given.env = new.clone();
        }
        match all == self.given {
            true => Ok(()),
            false => self.write(all),
        }
    }

    fn write(&mut self, ports: Vec<Given>) -> Result<()> {
        let version = VERSION;
        let file = PortsFile { version, ports };
        write_json(&self.path, &file)?;
        self.given = file.ports;
        Ok(())
    }
}

/// All ports of the range, from one on that depends on whose it is: users of one machine don't know of
/// each other's, and should not begin with the same one.
fn candidates(
    path: &Path,
    env: &EnvRef,
    guest: GuestPort,
) -> impl Iterator<Item = HostPort> + use<> {
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

fn warn(warning: Option<String>) {
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
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

    fn none() -> BTreeSet<HostPort> {
        BTreeSet::new()
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
        let first = stable.of(&(env("dev"), guest), &none()).unwrap();
        let second = stable.of(&(env("other"), guest), &none()).unwrap();
        assert_ne!(first, second);
        let mut later = Stable::read(&home).unwrap();
        assert_eq!(later.of(&(env("other"), guest), &none()).unwrap(), second);
        assert_eq!(later.of(&(env("dev"), guest), &none()).unwrap(), first);
        later.rename(&env("dev"), &env("new")).unwrap();
        let mut last = Stable::read(&home).unwrap();
        assert_eq!(last.of(&(env("new"), guest), &none()).unwrap(), first);
        // It has become a port that envs share: it must not lead to whoever has the focus.
        let shared = BTreeSet::from([first]);
        assert_ne!(last.of(&(env("new"), guest), &shared).unwrap(), first);
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
                .of(&(env("dev"), guest), &none())
                .is_ok()
        );
        assert!(path.with_extension("json.broken").exists());
    }
}
