//! Stand-in for `limactl` 2.2, for tests of faults and crashes without virtual machines. It supports only the calls
//! of our backend and tests. Guests are real: an ordinary user's namespaces with their own root, accessed through sshd.
//!
//! # Control
//!
//! Files in `$LIMA_HOME/.fake`:
//!
//! * `calls.jsonl`: log of calls, if the file exists. One line per call: `{args, cwd, service, pid}`.
//! * `faults`: read at each call, one fault per line:
//!   - `version 1.0.0`: reports this version
//!   - `hang COMMAND [POINT]`, `die COMMAND POINT`: blocks, or dies of SIGKILL. A blocked process appends
//!     `COMMAND POINT PID` to `hung`. Points: `begin` (default); for `create`: `dir yaml image disk`; for `start`:
//!     `agent running`; for `stop` (in the host agent) and `freeze` (in the guest): `before-pack packed`; for
//!     `delete`: `half`
//!   - `slow boot MILLISECONDS`: delays the boot
//!   - `rubbish COMMAND`, `warn COMMAND`: first prints something else on stdout
//!   - `full create`, `full freeze`: no space left for the disk
//!   - `taken port TIMES`: the SSH port is in use at that many starts
//!   - `no mounts`: guests lack the mounts, without an error
//!   - `no freeze`: guests lack `fsfreeze`
//! * `scratch/NAME`: root of a running guest.
//!
//! # Design
//!
//! The disk is a tar of the root in a sparse file. `start` starts the host agent (`agent`), which outlives it; the
//! agent starts the "driver" (`unshare`), whose child unpacks the disk, makes it its root and boots it (`guest`). Stop
//! and `fsfreeze` pack the root and rename it over the disk. A killed driver is a power cut: it loses changes since
//! the last pack.

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

/// Set if this is the first process of a guest.
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
