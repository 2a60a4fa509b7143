//! A relay in a guest: forwards connections of the host to services on the guest's loopback.
//!
//! `backend/lxc/dial/relay` of core copies it into the guest, as one static program, and starts it. The first line of
//! input is its configuration ([`config`]); it prints the port on which it listens. A connection starts with the
//! client's key and a port (18 bytes), answered by the relay's key and a status (17 bytes); then bytes pass unchanged.
//! Invariants: one thread, asleep while idle; an idle connection uses only its two sockets; it ends with its input, and
//! after a time without connections. Deliberately absent: targets other than loopback, protocols other than TCP.

#[cfg(target_os = "linux")]
mod config;
#[cfg(target_os = "linux")]
mod connection;
#[cfg(target_os = "linux")]
mod flow;
#[cfg(target_os = "linux")]
mod pipes;
#[cfg(target_os = "linux")]
mod server;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::process::ExitCode;

/// Exit code of a failed start; the reason is on stderr.
const FAILED: u8 = 1;
/// Exit code for an address that is not this guest's.
#[cfg(target_os = "linux")]
const NO_SUCH_ADDRESS: u8 = 75;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use std::io::{ErrorKind, Write};

    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // stderr may be closed.
            let _ = writeln!(std::io::stderr(), "{error}");
            match error.kind() {
                ErrorKind::AddrNotAvailable => ExitCode::from(NO_SUCH_ADDRESS),
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::from(FAILED)
}

#[cfg(target_os = "linux")]
fn run() -> std::io::Result<()> {
    use std::io::Write;
    use std::time::Duration;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// Time without connections after which it ends.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

    let limit = getrlimit(Resource::Nofile);
    // The guest's maximum.
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all)?;
    let input = rustix::stdio::stdin();
    let server = server::Server::new(config::read(input)?, input)?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", server.port()?)?;
    output.flush()?;
    server.run(IDLE_TIMEOUT)
}
