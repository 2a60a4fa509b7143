//! Putting the house together from what the user's environment says.
//!
//! The environment is passed in as a function, so that this library reads none.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::lima::{self, Lima};
use crate::backend::lxc::{Clients, Surroundings};
use crate::backend::{Backend, Remotes};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::{BackendChoice, RemoteName};
use crate::operations::Operations;

/// Name of our directory in the user's home.
const HOME_NAME: &str = ".lxc-dev-manager";
/// Name of Lima's directory in the user's home.
const LIMA_HOME_NAME: &str = ".lima";
/// Name of our directory in the system's place for sockets.
const RUNTIME_NAME: &str = "lxc-dev-manager";
/// Variables that say where our state is and which engine is meant, and hold a path.
const PATHS: [&str; 11] = [
    "LDM_HOME",
    "LIMA_HOME",
    "LIMACTL",
    "LXD_SOCKET",
    "LXD_DIR",
    "LXD_CONF",
    "LXD_GLOBAL_CONF",
    "INCUS_SOCKET",
    "INCUS_DIR",
    "INCUS_CONF",
    "INCUS_GLOBAL_CONF",
];
/// Those that hold a word.
const WORDS: [&str; 3] = ["LXC_REMOTE", "INCUS_REMOTE", "INCUS_PROJECT"];
/// The longest path of a Unix socket that every system takes (104 bytes with its end on macOS).
const MAX_SOCKET_PATH: usize = 103;

/// A variable of the environment by its name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The engine room over the engines of this user, with state in the user's home: the remote that is
/// named, else those that the environment and the engines' clients say. A project that names a remote
/// itself gets its own room by [`Operations::at_remote`].
///
/// # Errors
/// `Config` where there is no home, or where its path is too long for a socket; `NotFound` for a remote
/// that the user doesn't have.
pub async fn operations(
    lookup: Lookup<'_>,
    remote: Option<&RemoteName>,
) -> Result<Arc<Operations>> {
    let home = home(lookup)?;
    let clients = Clients::new(Surroundings::read(lookup)).await;
    let backends = match remote {
        Some(name) => vec![clients.named(name)?],
        None => {
            let lima = lima(lookup, &home).map(|lima| Arc::new(lima) as Arc<dyn Backend>);
            let mut all = clients.engines();
            all.extend(lima);
            // The one that is meant where nothing says which comes first.
            all.sort_by_key(|backend| !BackendChoice::Auto.means(backend.kind()));
            all
        }
    };
    let operations = Operations::new(backends, home, Arc::new(SystemClock));
    Ok(Arc::new(operations.with_remotes(Arc::new(clients))))
}

/// Lima, with the user's own machines; `None` where there is no home. Nothing is started or asked.
#[must_use]
pub fn lima(lookup: Lookup<'_>, home: &Home) -> Option<Lima> {
    let path = |name: &str| {
        let value = lookup(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let user_home = path("HOME");
    let own = user_home.as_ref().map(|home| home.join(LIMA_HOME_NAME));
    Some(Lima::new(lima::Surroundings {
        limactl: path("LIMACTL"),
        path: lookup("PATH"),
        lima_home: path("LIMA_HOME").or(own)?,
        user_home,
        empty: home.root().join("run/limactl"),
        templates: home.templates_directory(),
    }))
}

/// The variables that lead this program to the state and the engine of now, for whoever starts it again
/// in other surroundings. `here` is where relative paths begin.
#[must_use]
pub fn handed_on(lookup: Lookup<'_>, here: &Path) -> Vec<(&'static str, OsString)> {
    let set = |name: &&'static str| {
        let value = lookup(name).filter(|value| !value.is_empty());
        value.map(|value| (*name, value))
    };
    let paths = PATHS.iter().filter_map(set);
    let paths = paths.map(|(name, value)| (name, here.join(value).into_os_string()));
    paths.chain(WORDS.iter().filter_map(set)).collect()
}

/// Where our state lives.
///
/// # Errors
/// `Config` where there is no home, or where its path is too long for a socket.
pub fn home(lookup: Lookup<'_>) -> Result<Home> {
    let path = |name: &str| {
        lookup(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = path("HOME");
    let root = path("LDM_HOME").or_else(|| user.as_ref().map(|home| home.join(HOME_NAME)));
    let root = root.ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no home directory")
            .with_hint("set HOME, or LDM_HOME to a directory for the state of this program")
    })?;
    // Who says where the state is means all of it: two homes are two apps.
    let runtime = match path("LDM_HOME") {
        Some(_) => None,
        None => path("XDG_RUNTIME_DIR").map(|directory| directory.join(RUNTIME_NAME)),
    };
    let home = Home::new(root, runtime, user.map(|home| home.join(".ssh")));
    let socket = home.control_socket();
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        let message = format!("the path {} is too long for a socket", socket.display());
        return Err(
            Error::new(ErrorKind::Config, message).with_hint("set LDM_HOME to a shorter one")
        );
    }
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_here_is_handed_on_with_whole_paths() {
        let set = |name: &str| match name {
            "LDM_HOME" => Some("state".into()),
            "INCUS_SOCKET" => Some("/srv/incus.socket".into()),
            "INCUS_PROJECT" => Some("mine".into()),
            "LXD_DIR" => Some("".into()),
            _ => None,
        };
        let expected = [
            ("LDM_HOME", "/here/state"),
            ("INCUS_SOCKET", "/srv/incus.socket"),
            ("INCUS_PROJECT", "mine"),
        ];
        let expected = expected.map(|(name, value)| (name, OsString::from(value)));
        assert_eq!(handed_on(&set, Path::new("/here")), expected);
    }

    #[test]
    fn state_lives_below_the_users_home_unless_said_otherwise() {
        let only_home = |name: &str| (name == "HOME").then(|| "/home/u".into());
        assert_eq!(
            home(&only_home).unwrap().root().to_str(),
            Some("/home/u/.lxc-dev-manager")
        );
        let said = |name: &str| match name {
            "LDM_HOME" => Some("/srv/ldm".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1000".into()),
            _ => None,
        };
        let home_said = home(&said).unwrap();
        assert_eq!(home_said.root().to_str(), Some("/srv/ldm"));
        assert!(home_said.control_socket().starts_with("/srv/ldm"));
        assert_eq!(home(&|_| None).unwrap_err().kind(), ErrorKind::Config);
        let deep =
            |name: &str| (name == "LDM_HOME").then(|| format!("/{}", "d".repeat(100)).into());
        assert_eq!(home(&deep).unwrap_err().kind(), ErrorKind::Config);
    }
}
