//! Environment variables for engines and their clients, and the engines' sockets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::model::EngineKind;

/// Environment variables about engines; read once at the start.
#[derive(Debug, Clone, Default)]
pub struct HostEnvironment {
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    pub lxd: EngineVariables,
    pub incus: EngineVariables,
}

/// Variables of one engine and its client.
#[derive(Debug, Clone, Default)]
pub struct EngineVariables {
    /// `LXD_SOCKET`, `INCUS_SOCKET`.
    pub socket: Option<PathBuf>,
    /// `LXD_DIR`, `INCUS_DIR`.
    pub dir: Option<PathBuf>,
    /// `LXD_CONF`, `INCUS_CONF`: the client's directory.
    pub conf: Option<PathBuf>,
    /// `LXD_GLOBAL_CONF`, `INCUS_GLOBAL_CONF`: the system-wide one.
    pub global_conf: Option<PathBuf>,
    /// `LXC_REMOTE`, `INCUS_REMOTE`: the default remote.
    pub remote: Option<String>,
    /// `INCUS_PROJECT`: the current project. LXD's client has no such variable.
    pub project: Option<String>,
}

impl HostEnvironment {
    /// Reads the variables by `lookup`. An empty variable counts as unset.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let found = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| found(name).map(PathBuf::from);
        let text = |name: &str| found(name).and_then(|value| value.into_string().ok());
        Self {
            home: path("HOME"),
            config_home: path("XDG_CONFIG_HOME"),
            lxd: EngineVariables {
                socket: path("LXD_SOCKET"),
                dir: path("LXD_DIR"),
                conf: path("LXD_CONF"),
                global_conf: path("LXD_GLOBAL_CONF"),
                remote: text("LXC_REMOTE"),
                project: None,
            },
            incus: EngineVariables {
                socket: path("INCUS_SOCKET"),
                dir: path("INCUS_DIR"),
                conf: path("INCUS_CONF"),
                global_conf: path("INCUS_GLOBAL_CONF"),
                remote: text("INCUS_REMOTE"),
                project: text("INCUS_PROJECT"),
            },
        }
    }

    pub(super) fn of(&self, kind: EngineKind) -> &EngineVariables {
        match kind {
            EngineKind::Lxd => &self.lxd,
            _ => &self.incus,
        }
    }

    /// The engines whose socket a variable names, LXD first.
    pub(super) fn named(&self) -> Vec<EngineKind> {
        let named = |kind: &EngineKind| self.of(*kind).named_socket().is_some();
        KINDS.into_iter().filter(named).collect()
    }
}

impl EngineVariables {
    pub(super) fn named_socket(&self) -> Option<PathBuf> {
        let in_dir = |dir: &PathBuf| dir.join("unix.socket");
        self.socket
            .clone()
            .or_else(|| self.dir.as_ref().map(in_dir))
    }
}

/// In order of preference.
pub(super) const KINDS: [EngineKind; 2] = [EngineKind::Lxd, EngineKind::Incus];

/// LXD's sockets in order of preference: snap, distributions, restricted users.
const LXD_SOCKETS: [&str; 3] = [
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket.user",
];
/// Incus' sockets in order of preference.
const INCUS_SOCKETS: [&str; 4] = [
    "/run/incus/unix.socket",
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket.user",
    "/var/lib/incus/unix.socket.user",
];
/// Suffix of the sockets of `lxd-user` and `incus-user`, which restrict each user to an own
/// project.
const RESTRICTED_SUFFIX: &str = ".user";

/// The engines' database beside their socket. It exists even if the engine is stopped.
const DATABASE: &str = "database";

/// Whether an engine with this socket is installed, running or not.
pub(super) fn is_installed(socket: &Path) -> bool {
    let database = socket.parent().map(|directory| directory.join(DATABASE));
    socket.exists() || database.is_some_and(|path| path.exists())
}

/// Whether this socket is for restricted users.
pub(super) fn is_restricted(socket: &Path) -> bool {
    socket
        .as_os_str()
        .to_string_lossy()
        .ends_with(RESTRICTED_SUFFIX)
}

/// The engine's socket: the one named by a variable, else the first default one that is writable,
/// exists, or belongs to an installed engine; else the first default.
pub(super) fn socket(kind: EngineKind, variables: &EngineVariables) -> PathBuf {
    if let Some(named) = variables.named_socket() {
        return named;
    }
    let sockets: &[&str] = match kind {
        EngineKind::Lxd => &LXD_SOCKETS,
        _ => &INCUS_SOCKETS,
    };
    let defaults = || sockets.iter().map(PathBuf::from);
    defaults()
        .find(|path| access(path, Access::WRITE_OK).is_ok())
        .or_else(|| defaults().find(|path| path.exists()))
        .or_else(|| defaults().find(|path| is_installed(path)))
        .or_else(|| defaults().next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_variable_overrides_directory_variable() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, OsString)> = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
                .collect();
            HostEnvironment::read(move |name| {
                let found = pairs.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone())
            })
        };
        let one = read(&[("INCUS_DIR", "/srv/incus"), ("LXD_SOCKET", "")]);
        assert_eq!(one.named(), [EngineKind::Incus]);
        assert_eq!(
            socket(EngineKind::Incus, &one.incus),
            PathBuf::from("/srv/incus/unix.socket")
        );
        let both = read(&[
            ("LXD_DIR", "/srv/lxd"),
            ("LXD_SOCKET", "/srv/x"),
            ("INCUS_DIR", "/i"),
        ]);
        assert_eq!(both.named(), KINDS);
        assert_eq!(socket(EngineKind::Lxd, &both.lxd), PathBuf::from("/srv/x"));
        assert!(read(&[]).named().is_empty());
    }

    #[test]
    fn recognises_sockets_of_restricted_users() {
        assert!(is_restricted(Path::new("/run/incus/unix.socket.user")));
        assert!(!is_restricted(Path::new("/run/incus/unix.socket")));
    }
}
