//! Where LXD and Incus listen on this machine.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::model::EngineKind;

/// What the user's environment says about engines; read once, in the surfaces' main functions.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `LXD_SOCKET`.
    pub lxd_socket: Option<PathBuf>,
    /// `LXD_DIR`.
    pub lxd_dir: Option<PathBuf>,
    /// `INCUS_SOCKET`.
    pub incus_socket: Option<PathBuf>,
    /// `INCUS_DIR`.
    pub incus_dir: Option<PathBuf>,
}

/// A place where an engine may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which kind.
    pub kind: EngineKind,
    /// Its socket.
    pub socket: PathBuf,
}

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

/// Name of the engines' database beside their socket. It stays where a stopped engine has taken its
/// socket away.
const DATABASE: &str = "database";

/// Whether an engine is at this socket, running or not.
pub(super) fn is_installed(socket: &Path) -> bool {
    let database = socket.parent().map(|directory| directory.join(DATABASE));
    socket.exists() || database.is_some_and(|path| path.exists())
}

/// The engines to ask, LXD before Incus. A variable that names one leaves out the ones that none
/// names. Of several sockets of one kind, the first that this user may use counts, else the first
/// that is there, else that of an engine which doesn't run, else the first.
#[must_use]
pub fn candidates(surroundings: &Surroundings) -> Vec<Candidate> {
    let in_dir = |dir: &Option<PathBuf>| dir.as_ref().map(|dir| dir.join("unix.socket"));
    let lxd = surroundings
        .lxd_socket
        .clone()
        .or_else(|| in_dir(&surroundings.lxd_dir));
    let incus = surroundings
        .incus_socket
        .clone()
        .or_else(|| in_dir(&surroundings.incus_dir));
    let named: Vec<Candidate> = [(EngineKind::Lxd, lxd), (EngineKind::Incus, incus)]
        .into_iter()
        .filter_map(|(kind, socket)| socket.map(|socket| Candidate { kind, socket }))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let first = |kind, sockets: &[&str]| {
        let usual = || sockets.iter().map(PathBuf::from);
        let socket = usual()
            .find(|path| access(path, Access::WRITE_OK).is_ok())
            .or_else(|| usual().find(|path| path.exists()))
            .or_else(|| usual().find(|path| is_installed(path)))
            .or_else(|| usual().next());
        socket.map(|socket| Candidate { kind, socket })
    };
    [
        first(EngineKind::Lxd, &LXD_SOCKETS),
        first(EngineKind::Incus, &INCUS_SOCKETS),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_engine_leaves_the_others_out() {
        let surroundings = Surroundings {
            incus_dir: Some("/srv/incus".into()),
            ..Surroundings::default()
        };
        let found = candidates(&surroundings);
        let socket = PathBuf::from("/srv/incus/unix.socket");
        assert_eq!(
            found,
            [Candidate {
                kind: EngineKind::Incus,
                socket
            }]
        );
    }

    #[test]
    fn without_a_name_both_kinds_are_asked_lxd_first() {
        let kinds: Vec<_> = candidates(&Surroundings::default())
            .into_iter()
            .map(|c| c.kind)
            .collect();
        assert_eq!(kinds, [EngineKind::Lxd, EngineKind::Incus]);
    }
}
