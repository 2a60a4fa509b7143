//! A stand-in for Lima's `limactl` 2.2, for tests of faults and crashes on machines without virtual machines. It knows the
//! calls of our backend and of the tests, and refuses any other one. Its guests are real: a root of their own, in namespaces
//! that an ordinary user may make, reached through the guest's sshd.
//!
//! # How a test controls it
//!
//! By the directory `$LIMA_HOME/.fake`:
//!
//! * `calls.jsonl`: if this file exists, each call is appended as a line `{args, cwd, service, pid}`.
//! * `faults`: read at each call, one fault per line:
//!   - `version 1.0.0`: reports this version
//!   - `hang COMMAND [POINT]`, `die COMMAND POINT`: blocks for ever, or dies of SIGKILL. The default point is `begin`; other
//!     points of `create`: `dir yaml image disk`; of `start`: `agent running`; of `stop` (in the host agent) and `freeze` (in
//!     the guest): `before-pack packed`; of `delete`: `half`. A blocked process appends `COMMAND POINT PID` to `hung`
//!   - `slow boot MILLISECONDS`: delays the guest
//!   - `rubbish COMMAND`, `warn COMMAND`: writes something else on stdout first
//!   - `full create`, `full freeze`: no space is left for the disk
//!   - `taken port TIMES`: that many starts find their SSH port in use
//!   - `no mounts`: guests lack the mounts, and Lima doesn't report it
//!   - `no freeze`: guests have no `fsfreeze`
//! * `scratch/NAME`: the root of a running guest.
//!
//! # Design
//!
//! The disk of an instance is a tar of its root in a sparse file. `start` starts the host agent (`agent`), which outlives
//! this process; it starts the "driver", `unshare`, whose child unpacks the disk, makes it its root (`guest`) and boots it.
//! Stopping packs the root and renames it over the disk, and so does `fsfreeze` in the guest. A killed driver is a power
//! cut: changes that were not packed are lost.

#[cfg(target_os = "linux")]
mod agent;
#[cfg(target_os = "linux")]
mod commands;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod guest;
#[cfg(target_os = "linux")]
mod home;
#[cfg(target_os = "linux")]
mod instance;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod yaml;

use std::process::ExitCode;

/// Set for this program as the first process of a guest.
#[cfg(target_os = "linux")]
const ROLE: &str = "FAKE_LIMACTL_ROLE";

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let result = match std::env::var_os(ROLE) {
        Some(_) => guest::run(),
        None => commands::run(&std::env::args().skip(1).collect::<Vec<_>>()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::print("fatal", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    use std::io::Write;
    let words = "the stand-in for limactl runs on Linux only";
    let _ = writeln!(std::io::stderr(), "{words}");
    ExitCode::FAILURE
}
