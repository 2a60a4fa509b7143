//! Who listens on a port of this machine.

use crate::model::HostPort;

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "other systems have no place to look it up")
)]
pub(super) enum Owner {
    /// A process that we may look at.
    Process {
        /// Its name, as the system has it.
        name: String,
        /// Its number.
        pid: i32,
    },
    /// Somebody whose processes we may not look at.
    User(u32),
}

/// Who listens on a port, whatever the address; `None` where nobody does, or where the system doesn't say.
#[cfg(target_os = "linux")]
pub(super) fn owner(port: HostPort) -> Option<Owner> {
    let listening = |entries: procfs::ProcResult<Vec<procfs::net::TcpNetEntry>>| {
        let is_it = |entry: &procfs::net::TcpNetEntry| {
            entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port.get()
        };
        entries.unwrap_or_default().into_iter().find(is_it)
    };
    let entry = listening(procfs::net::tcp()).or_else(|| listening(procfs::net::tcp6()))?;
    let processes = procfs::process::all_processes().ok()?;
    let holder = processes
        .flatten()
        .find(|process| holds(process, entry.inode));
    Some(match holder.and_then(|process| process.stat().ok()) {
        Some(stat) => Owner::Process {
            name: stat.comm,
            pid: stat.pid,
        },
        None => Owner::User(entry.uid),
    })
}

/// Whether a process has a socket open.
#[cfg(target_os = "linux")]
fn holds(process: &procfs::process::Process, inode: u64) -> bool {
    use procfs::process::FDTarget;
    let is_it = |target: &FDTarget| matches!(target, FDTarget::Socket(number) if *number == inode);
    // One that isn't ours shows nothing.
    process
        .fd()
        .is_ok_and(|open| open.flatten().any(|fd| is_it(&fd.target)))
}

/// Who listens on a port: this system has no place to look it up without another program.
#[cfg(not(target_os = "linux"))]
pub(super) fn owner(_: HostPort) -> Option<Owner> {
    None
}
