//! A relay that runs in a guest, and leads connections of the guest's host to services on the guest's
//! own loopback.
//!
//! It is put into the guest and started by `backend/lxc/dial/relay` of core, as one static program. Its
//! first line of input says who may come, and where from ([`order`]); it answers with the port on which
//! it listens then. A connection begins with the visitor's key and a port (18 bytes), and is answered
//! with our own key and one byte (17 bytes); from then on bytes pass untouched.
//!
//! Invariants: one thread, and it sleeps while nothing happens; nothing is held for an idle connection
//! but its two sockets; it ends with its input, and when nobody has come for a while.
//! Deliberately absent: anything but loopback as a target, and any protocol but TCP.

#[cfg(target_os = "linux")]
mod flow;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod order;
#[cfg(target_os = "linux")]
mod pipes;
#[cfg(target_os = "linux")]
mod server;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::process::ExitCode;

/// Exit code of one that could not begin: a word about it is on stderr.
const FAILED: u8 = 1;
/// Exit code of one whose address isn't this guest's.
#[cfg(target_os = "linux")]
const NO_SUCH_ADDRESS: u8 = 75;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use std::io::{ErrorKind, Write};

    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any more.
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

    /// How long it stays while nobody comes.
    const IDLE: Duration = Duration::from_secs(60);

    let limit = getrlimit(Resource::Nofile);
    // As many as this guest allows.
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all)?;
    let input = rustix::stdio::stdin();
    let server = server::Server::new(order::read(input)?, input)?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", server.port()?)?;
    output.flush()?;
    server.run(IDLE)
}
