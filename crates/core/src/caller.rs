//! The user for whom this program runs: behind sudo, the one who called that.

use std::sync::OnceLock;

use rustix::process::{getegid, geteuid};

/// A user of the host, with their primary group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

static SUDO_CALLER: OnceLock<Caller> = OnceLock::new();

/// Names the user who called sudo, from `SUDO_UID` and `SUDO_GID`.
pub(crate) fn set_sudo_caller(uid: u32, gid: u32) {
    // Set once per process.
    let _ = SUDO_CALLER.set(Caller { uid, gid });
}

/// The user for whom this process runs.
pub(crate) fn caller() -> Caller {
    let own = Caller {
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
    };
    match SUDO_CALLER.get() {
        Some(caller) if own.uid == 0 => *caller,
        _ => own,
    }
}
