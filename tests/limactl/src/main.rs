//! A stand-in for Lima's `limactl` 2.2, for tests on machines without virtual machines. It answers, writes and fails as the
//! real one does, and what the real one doesn't know fails here too. Its guests are real: a root of their own, in
//! namespaces that an ordinary user may make, reached through the guest's sshd.
//!
//! # How a test tells it what to do
//!
//! It has a directory of its own, `$LIMA_HOME/.fake`, or `$FAKE_LIMACTL` where that is set:
//!
//! * `calls.jsonl`: where this file exists, each call is added as a line `{args, cwd, env, pid}`.
//! * `faults`: read at each call, one fault a line:
//!   - `version 1.0.0`: it says that it is this version
//!   - `vz`: takes `vmType: vz`, which Linux doesn't have
//!   - `hang COMMAND [POINT]`, `die COMMAND [POINT]`: stops for ever, or ends as if killed. Without a point at the begin of
//!     the command; points of `create`: `dir yaml image disk`; of `start`: `agent running`; of `stop`: `before-pack packed`
//!     (in the host agent), and the same of `freeze`, which is the guest's; of `clone` and `rename`: `half`; of `delete`:
//!     `half`; of `edit`: `before-write`. What hangs has added `COMMAND POINT PID` to the file `hung`
//!   - `slow COMMAND MILLISECONDS`; `slow boot MILLISECONDS`, `hang boot` for the guest itself
//!   - `rubbish COMMAND`, `warn COMMAND`: writes something else on stdout first
//!   - `full create`, `full stop`, `full freeze`, `full clone`: no space is left for the disk
//!   - `taken port TIMES`: that many starts find the port of SSH taken, which was free when they chose it
//!   - `no mounts`: guests see no directory of the host, of which Lima says nothing
//!   - `no freeze`: guests have no `fsfreeze`
//! * `scratch/NAME`: the root of a running guest.
//!
//! # What it is made of
//!
//! The disk of an instance is a tar of its root in a sparse file. `start` starts the host agent (`agent`), which outlives
//! this process; it starts the "driver", `unshare`, whose child unpacks the disk, makes it its root (`guest`) and boots it.
//! Stopping packs the root and renames it over the disk, and so does `fsfreeze` in the guest. A killed driver is a power
//! cut: what was not packed is lost.
//!
//! Deliberately absent: downloads, networks, disks apart from the first, snapshots, and all that changes the host.

#[cfg(target_os = "linux")]
mod agent;
#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod cli;
#[cfg(target_os = "linux")]
mod commands;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod edit;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod flags;
#[cfg(target_os = "linux")]
mod guest;
#[cfg(target_os = "linux")]
mod home;
#[cfg(target_os = "linux")]
mod inspect;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod shell;
#[cfg(target_os = "linux")]
mod yaml;

use std::io::Write;
use std::process::ExitCode;

/// Set for this program's other life, in a guest.
#[cfg(target_os = "linux")]
const ROLE: &str = "FAKE_LIMACTL_ROLE";

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    if std::env::var_os(ROLE).is_some_and(|role| role == "guest") {
        return ended(guest::run());
    }
    if rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "limactl: must not run as the root user");
        return ExitCode::FAILURE;
    }
    ended(cli::run(&args))
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    let _ = writeln!(
        std::io::stderr(),
        "the stand-in for limactl runs on Linux only"
    );
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        log::fatal(format!("{error:#}"));
        ExitCode::FAILURE
    })
}
