//! What the user's environment says about engines, and where they listen on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::model::EngineKind;

/// What the user's environment says; read once, in the surfaces' main functions.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// What it says about LXD.
    pub lxd: Variables,
    /// What it says about Incus.
    pub incus: Variables,
}

/// The variables of one engine and its client.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `LXD_SOCKET`, `INCUS_SOCKET`.
    pub socket: Option<PathBuf>,
    /// `LXD_DIR`, `INCUS_DIR`.
    pub dir: Option<PathBuf>,
    /// `LXD_CONF`, `INCUS_CONF`: the client's directory.
    pub conf: Option<PathBuf>,
    /// `LXD_GLOBAL_CONF`, `INCUS_GLOBAL_CONF`: the one of all users.
    pub global_conf: Option<PathBuf>,
    /// `LXC_REMOTE`, `INCUS_REMOTE`: the default remote.
    pub remote: Option<String>,
    /// `INCUS_PROJECT`: the current project. LXD's client knows no such variable.
    pub project: Option<String>,
}

impl Surroundings {
    /// Reads the variables by a function that looks one up. An empty one is as good as none.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let found = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| found(name).map(PathBuf::from);
        let text = |name: &str| found(name).and_then(|value| value.into_string().ok());
        Self {
            home: path("HOME"),
            config_home: path("XDG_CONFIG_HOME"),
            lxd: Variables {
                socket: path("LXD_SOCKET"),
                dir: path("LXD_DIR"),
                conf: path("LXD_CONF"),
                global_conf: path("LXD_GLOBAL_CONF"),
                remote: text("LXC_REMOTE"),
                project: None,
            },
            incus: Variables {
                socket: path("INCUS_SOCKET"),
                dir: path("INCUS_DIR"),
                conf: path("INCUS_CONF"),
                global_conf: path("INCUS_GLOBAL_CONF"),
                remote: text("INCUS_REMOTE"),
                project: text("INCUS_PROJECT"),
            },
        }
    }

    /// The variables of one kind of engine.
    pub(super) fn of(&self, kind: EngineKind) -> &Variables {
        match kind {
            EngineKind::Lxd => &self.lxd,
            _ => &self.incus,
        }
    }

    /// The engines that a variable names, LXD before Incus; empty where none is named.
    pub(super) fn named(&self) -> Vec<EngineKind> {
        let named = |kind: &EngineKind| self.of(*kind).named_socket().is_some();
        KINDS.into_iter().filter(named).collect()
    }
}

impl Variables {
    /// The socket that they name.
    pub(super) fn named_socket(&self) -> Option<PathBuf> {
        let in_dir = |dir: &PathBuf| dir.join("unix.socket");
        self.socket
            .clone()
            .or_else(|| self.dir.as_ref().map(in_dir))
    }
}

/// The engines of this room, in the order of preference.
pub(super) const KINDS: [EngineKind; 2] = [EngineKind::Lxd, EngineKind::Incus];

/// Where LXD listens, most specific first: the snap, distributions, and the restricted user socket.
const LXD_SOCKETS: [&str; 3] = [
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket.user",
];
/// Where Incus listens.
const INCUS_SOCKETS: [&str; 4] = [
    "/run/incus/unix.socket",
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket.user",
    "/var/lib/incus/unix.socket.user",
];
/// End of the name of the socket at which `lxd-user` and `incus-user` let a user into a project of
/// the user's own.
const RESTRICTED: &str = ".user";

/// Name of the engines' database beside their socket. It stays where a stopped engine has taken its
/// socket away.
const DATABASE: &str = "database";

/// Whether an engine is at this socket, running or not.
pub(super) fn is_installed(socket: &Path) -> bool {
    let database = socket.parent().map(|directory| directory.join(DATABASE));
    socket.exists() || database.is_some_and(|path| path.exists())
}

/// Whether this is the socket for users without the right to everything.
pub(super) fn is_restricted(socket: &Path) -> bool {
    socket.as_os_str().to_string_lossy().ends_with(RESTRICTED)
}

/// The engine's socket: the one that a variable names, else the first usual one that this user may
/// use, else the first that is there, else that of an engine which doesn't run, else the first.
pub(super) fn socket(kind: EngineKind, variables: &Variables) -> PathBuf {
    if let Some(named) = variables.named_socket() {
        return named;
    }
    let sockets: &[&str] = match kind {
        EngineKind::Lxd => &LXD_SOCKETS,
        _ => &INCUS_SOCKETS,
    };
    let usual = || sockets.iter().map(PathBuf::from);
    usual()
        .find(|path| access(path, Access::WRITE_OK).is_ok())
        .or_else(|| usual().find(|path| path.exists()))
        .or_else(|| usual().find(|path| is_installed(path)))
        .or_else(|| usual().next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_an_engine_and_a_socket_wins_over_it() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, OsString)> = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
                .collect();
            Surroundings::read(move |name| {
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
    fn the_socket_of_restricted_users_is_known_by_its_name() {
        assert!(is_restricted(Path::new("/run/incus/unix.socket.user")));
        assert!(!is_restricted(Path::new("/run/incus/unix.socket")));
    }
}
