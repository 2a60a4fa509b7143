//! Putting a relay into a guest, and running it there.

use std::env::consts::ARCH;
use std::fmt::Write;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::ZlibDecoder;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::time::timeout;
use uuid::Uuid;

use super::endpoint::{Keys, RelayEndpoint};
use crate::backend::listener::RELAY as RELAY_NAME;
use crate::backend::lxc::dial::guest::Guest;
use crate::backend::lxc::{exec, files};
use crate::backend::{Content, ExecIo, ExecSpec, GuestFile, Ownership};
use crate::error::{Error, ErrorKind, Result};

/// The relay, packed, where this program runs on Linux.
const RELAY: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/relay.rs"));
/// Becomes the relay. `$1` its path, `$2` where it has just been written, or nothing.
const START: &str = include_str!("start.sh");
/// Where programs may be put: gone with the boot, and, where nothing there may be run, kept.
const PLACES: [&str; 2] = ["/run", "/var/lib"];
const DIRECTORY: &str = "lxc-dev-manager";
/// How long it may take from the exec until it listens.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// More than a line with a port has, or what a failed relay says.
const LINE: usize = 512;

/// Its exit code where the address isn't the guest's.
const NO_SUCH_ADDRESS: i32 = 75;
/// Exit codes of what can't be run, and of what isn't there.
const NOT_RUN: i32 = 126;
const MISSING: i32 = 127;

/// Runs a relay to its end; `opened` is told where it listens.
///
/// # Errors
/// `Unsupported` where this guest can't run it; `Conflict` where it isn't the boot that was meant;
/// the engine's.
pub(super) async fn run(guest: &Arc<Guest>, opened: impl Fn(RelayEndpoint)) -> Result<()> {
    let relay = RELAY.filter(|_| guest.architecture == ARCH);
    let Some(relay) = relay else {
        let message = format!(
            "`{}` has another processor ({})",
            guest.name, guest.architecture
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    guest.expect_present().await?;
    for place in PLACES {
        let directory = format!("{place}/{DIRECTORY}");
        let path = format!("{directory}/{}", file_name(relay));
        match attempt(guest, &path, "", &opened).await? {
            MISSING => {}
            NOT_RUN => continue,
            code => return ended(guest, code),
        }
        let Ok(written) = put(guest, &directory, &path, &unpacked(relay)?).await else {
            continue;
        };
        match attempt(guest, &path, &written, &opened).await? {
            MISSING | NOT_RUN => {}
            code => return ended(guest, code),
        }
    }
    let message = format!("no program of ours can be run in `{}`", guest.name);
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn ended(guest: &Guest, code: i32) -> Result<()> {
    match code {
        0 => Ok(()),
        NO_SUCH_ADDRESS => {
            let message = format!(
                "{} isn't the address of `{}` now",
                guest.address, guest.name
            );
            Err(Error::new(ErrorKind::Conflict, message))
        }
        _ => {
            let message = format!("the relay in `{}` ended with {code}", guest.name);
            Err(Error::new(ErrorKind::Unreachable, message))
        }
    }
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>> {
    let mut relay = Vec::new();
    let unpacked = ZlibDecoder::new(packed).read_to_end(&mut relay);
    unpacked.map_err(|error| Error::io("the relay that is carried along is damaged", error))?;
    Ok(relay)
}

/// Of every content a name of its own, so that programs of several versions don't meet.
fn file_name(relay: &[u8]) -> String {
    let mut name = RELAY_NAME.to_owned();
    for byte in &Sha256::digest(relay)[..6] {
        // Writing into a string doesn't fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Writes it beside its path, in a directory of root's alone.
async fn put(guest: &Guest, directory: &str, path: &str, relay: &[u8]) -> Result<String> {
    let ownership = Ownership {
        uid: 0,
        gid: 0,
        mode: 0o700,
    };
    let (client, name) = (&guest.client, &guest.name);
    let content = Content::Directory(Vec::new());
    files::write(client, name, directory, GuestFile { ownership, content }).await?;
    let beside = format!("{path}.{}", Uuid::new_v4().simple());
    files::write(client, name, &beside, GuestFile::of_root(0o700, relay)).await?;
    Ok(beside)
}

/// Runs what is at a path to its end. The code is that of one that didn't begin.
async fn attempt(
    guest: &Guest,
    path: &str,
    written: &str,
    opened: &impl Fn(RelayEndpoint),
) -> Result<i32> {
    let keys = Keys::random();
    let order = keys.order(guest.address, own_address(guest.address)?);
    let (mut input, stdin) = duplex(LINE);
    let (stdout, output) = duplex(LINE);
    let given = input.write_all(order.as_bytes()).await;
    given.map_err(|error| Error::io("a relay can't be told what to do", error))?;
    let spec = ExecSpec::new(["sh", "-c", START, "sh", path, written]);
    let io = ExecIo::new(stdin, stdout, tokio::io::sink());
    let run = exec::run(&guest.client, &guest.name, &spec, io);
    tokio::pin!(run);
    let port = tokio::select! {
        // It ended without a word.
        ended = &mut run => return ended,
        port = timeout(START_PATIENCE, port(output)) => port,
    };
    let Ok(Some((port, _rest))) = port else {
        let message = format!("the relay in `{}` doesn't begin", guest.name);
        return match port {
            // What it ended with says more.
            Ok(None) => run.await,
            _ => Err(Error::new(ErrorKind::Timeout, message)),
        };
    };
    let address = SocketAddr::new(guest.address, port);
    opened(RelayEndpoint { address, keys });
    run.await?;
    // Its end would be the relay's, too.
    drop(input);
    // However it ends, with its guest most often: it could be run, and may be again.
    Ok(0)
}

/// The port that it says first, and the stream, which has to stay open.
async fn port(output: DuplexStream) -> Option<(u16, impl Sized)> {
    let mut output = BufReader::new(output.take(LINE as u64));
    let mut line = String::new();
    output.read_line(&mut line).await.ok()?;
    Some((line.trim().parse().ok()?, output))
}

/// The address of this machine from which the guest is reached.
fn own_address(guest: IpAddr) -> Result<IpAddr> {
    let any: IpAddr = match guest {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket sends nothing; the kernel only chooses the way.
    let chosen = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((guest, 9))?;
        socket.local_addr()
    });
    let chosen = chosen.map_err(|error| {
        Error::new(
            ErrorKind::Unreachable,
            format!("there is no way to {guest}"),
        )
        .caused_by(error)
    })?;
    Ok(chosen.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_is_a_static_program_of_this_machine() {
        let packed = RELAY.unwrap();
        let relay = unpacked(packed).unwrap();
        assert!(relay.starts_with(b"\x7fELF"));
        // Nothing in it asks for a loader, whose path would stand in it.
        let loader = b"/ld-linux";
        assert!(!relay.windows(loader.len()).any(|part| part == loader));
        let name = file_name(packed);
        assert_eq!(name.len(), RELAY_NAME.len() + 12);
        assert_ne!(name, file_name(b"another"));
    }

    #[test]
    fn the_way_to_loopback_is_from_loopback() {
        let own = own_address(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(own, IpAddr::from(Ipv4Addr::LOCALHOST));
    }
}
