//! Creating the use cases from the user's environment, which is passed in as a function.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::lima::{self, Lima};
use crate::backend::lxc::{HostEnvironment, LxcRemotes};
use crate::backend::{Backend, Remotes};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::{BackendChoice, RemoteName};
use crate::operations::Operations;

/// Directory of this program in the user's home.
const HOME_DIRECTORY: &str = ".lxc-dev-manager";
/// Directory of Lima in the user's home.
const LIMA_HOME_DIRECTORY: &str = ".lima";
/// Directory of this program in the runtime directory.
const RUNTIME_DIRECTORY: &str = "lxc-dev-manager";
/// Variables with paths, which choose the state and the engines.
const PATH_VARIABLES: [&str; 11] = [
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
/// Other variables that choose the engines.
const OTHER_VARIABLES: [&str; 3] = ["LXC_REMOTE", "INCUS_REMOTE", "INCUS_PROJECT"];
/// Limit of all supported systems (104 bytes with NUL on macOS).
const MAX_SOCKET_PATH_BYTES: usize = 103;

/// Looks up an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The use cases over a remote, or over the engines of the environment and of the engines' clients. For
/// projects that name a remote see [`Operations::for_project`].
///
/// # Errors
/// `Config` as in [`home`]; `NotFound` for an unknown remote.
pub async fn operations(
    lookup: Lookup<'_>,
    remote: Option<&RemoteName>,
) -> Result<Arc<Operations>> {
    let id = |name: &str| lookup(name).and_then(|id| id.to_str()?.parse().ok());
    if let Some(uid) = id("SUDO_UID") {
        crate::caller::set_sudo_caller(uid, id("SUDO_GID").unwrap_or(uid));
    }
    let home = home(lookup)?;
    let clients = LxcRemotes::new(HostEnvironment::read(lookup)).await;
    let backends = match remote {
        Some(name) => vec![clients.named(name)?],
        None => {
            let lima = lima(lookup, &home).map(|lima| Arc::new(lima) as Arc<dyn Backend>);
            let mut all = clients.engines();
            all.extend(lima);
            // The default engine comes first.
            all.sort_by_key(|backend| !BackendChoice::Auto.matches(backend.kind()));
            all
        }
    };
    let operations = Operations::new(backends, home, Arc::new(SystemClock));
    Ok(Arc::new(operations.with_remotes(Arc::new(clients))))
}

/// The Lima backend; `None` without a home directory. Runs no command.
#[must_use]
pub fn lima(lookup: Lookup<'_>, home: &Home) -> Option<Lima> {
    let path = |name: &str| {
        let value = lookup(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let user_home = path("HOME");
    let own = user_home
        .as_ref()
        .map(|home| home.join(LIMA_HOME_DIRECTORY));
    Some(Lima::new(lima::Environment {
        limactl: path("LIMACTL"),
        path: lookup("PATH"),
        lima_home: path("LIMA_HOME").or(own)?,
        user_home,
        empty: home.root().join("run/limactl"),
        templates: home.templates_directory(),
    }))
}

/// The set variables that choose state and engines, for a process with another environment. Relative paths
/// are resolved against `here`.
#[must_use]
pub fn inherited_variables(lookup: Lookup<'_>, here: &Path) -> Vec<(&'static str, OsString)> {
    let set = |name: &&'static str| {
        let value = lookup(name).filter(|value| !value.is_empty());
        value.map(|value| (*name, value))
    };
    let paths = PATH_VARIABLES.iter().filter_map(set);
    let paths = paths.map(|(name, value)| (name, here.join(value).into_os_string()));
    paths
        .chain(OTHER_VARIABLES.iter().filter_map(set))
        .collect()
}

/// The directory of this program's state.
///
/// # Errors
/// `Config` without a home directory, or if its path is too long for a socket.
pub fn home(lookup: Lookup<'_>) -> Result<Home> {
    let path = |name: &str| {
        lookup(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = path("HOME");
    let root = path("LDM_HOME").or_else(|| user.as_ref().map(|home| home.join(HOME_DIRECTORY)));
    let root = root.ok_or_else(|| {
        Error::new(ErrorKind::Config, "no home directory")
            .with_hint("set `HOME`, or set `LDM_HOME` to a directory for the state of this program")
    })?;
    // `LDM_HOME` includes the sockets: two homes are two apps.
    let runtime = match path("LDM_HOME") {
        Some(_) => None,
        None => path("XDG_RUNTIME_DIR").map(|directory| directory.join(RUNTIME_DIRECTORY)),
    };
    let home = Home::new(root, runtime, user.map(|home| home.join(".ssh")));
    let socket = home.control_socket();
    if socket.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
        let message = format!("socket path too long: {}", socket.display());
        return Err(
            Error::new(ErrorKind::Config, message).with_hint("set `LDM_HOME` to a shorter path")
        );
    }
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherits_set_variables_with_absolute_paths() {
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
        assert_eq!(inherited_variables(&set, Path::new("/here")), expected);
    }

    #[test]
    fn state_is_in_the_users_home_or_ldm_home() {
        let only_home = |name: &str| (name == "HOME").then(|| "/home/u".into());
        assert_eq!(
            home(&only_home).unwrap().root().to_str(),
            Some("/home/u/.lxc-dev-manager")
        );
        let ldm_home = |name: &str| match name {
            "LDM_HOME" => Some("/srv/ldm".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1000".into()),
            _ => None,
        };
        let custom = home(&ldm_home).unwrap();
        assert_eq!(custom.root().to_str(), Some("/srv/ldm"));
        assert!(custom.control_socket().starts_with("/srv/ldm"));
        assert_eq!(home(&|_| None).unwrap_err().kind(), ErrorKind::Config);
        let deep =
            |name: &str| (name == "LDM_HOME").then(|| format!("/{}", "d".repeat(100)).into());
        assert_eq!(home(&deep).unwrap_err().kind(), ErrorKind::Config);
    }
}
