//! Writes a relay into a guest and runs it.

use std::env::consts::ARCH;
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
use crate::backend::listener::RELAY_NAME_PREFIX;
use crate::backend::lxc::dial::guest::Guest;
use crate::backend::lxc::{exec, files};
use crate::backend::{Content, ExecIo, ExecSpec, GuestFile, Ownership};
use crate::error::{Error, ErrorKind, Result};
use crate::hex;

/// The compressed relay; `None` if this program does not run on Linux.
const RELAY: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/relay.rs"));
/// Executes the relay: `$1` its path, `$2` the path of a new copy, or empty.
const START: &str = include_str!("start.sh");
/// Parent directories: the first is cleared at boot but may be mounted `noexec`, the second is
/// persistent.
const PARENTS: [&str; 2] = ["/run", "/var/lib"];
const DIRECTORY: &str = "lxc-dev-manager";
/// From the exec until the relay listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Exceeds the line with the port, and the message of a failed relay.
const MAX_LINE_BYTES: usize = 512;

/// The relay's exit code if the address is not the guest's.
const NO_SUCH_ADDRESS: i32 = 75;
// Exit codes of the shell.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Runs a relay to its end; calls `on_open` when it listens.
///
/// # Errors
/// `Unsupported` if this guest cannot run it; `Conflict` for another boot; the engine's.
pub(super) async fn run(guest: &Arc<Guest>, on_open: impl Fn(RelayEndpoint)) -> Result<()> {
    let relay = RELAY.filter(|_| guest.architecture == ARCH);
    let Some(relay) = relay else {
        let message = format!(
            "`{}` has an unsupported architecture: {}",
            guest.name, guest.architecture
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    guest.ensure_running().await?;
    for parent in PARENTS {
        let directory = format!("{parent}/{DIRECTORY}");
        let path = format!("{directory}/{}", file_name(relay));
        match attempt(guest, &path, "", &on_open).await? {
            NOT_FOUND => {}
            NOT_EXECUTABLE => continue,
            code => return exit_result(guest, code),
        }
        let Ok(new) = write(guest, &directory, &path, &decompress(relay)?).await else {
            continue;
        };
        match attempt(guest, &path, &new, &on_open).await? {
            NOT_FOUND | NOT_EXECUTABLE => {}
            code => return exit_result(guest, code),
        }
    }
    let message = format!("cannot run a program in `{}`", guest.name);
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn exit_result(guest: &Guest, code: i32) -> Result<()> {
    match code {
        0 => Ok(()),
        NO_SUCH_ADDRESS => {
            let message = format!(
                "{} is no longer the address of `{}`",
                guest.address, guest.name
            );
            Err(Error::new(ErrorKind::Conflict, message))
        }
        _ => {
            let message = format!("the relay in `{}` exited with code {code}", guest.name);
            Err(Error::new(ErrorKind::Unreachable, message))
        }
    }
}

fn decompress(packed: &[u8]) -> Result<Vec<u8>> {
    let mut relay = Vec::new();
    let read = ZlibDecoder::new(packed).read_to_end(&mut relay);
    read.map_err(|error| Error::io("the embedded relay is damaged", error))?;
    Ok(relay)
}

/// Depends on the content, so that versions do not overwrite each other.
fn file_name(relay: &[u8]) -> String {
    format!(
        "{RELAY_NAME_PREFIX}{}",
        hex::encode(&Sha256::digest(relay)[..6])
    )
}

/// Writes a relay beside its path, in a directory of root's, and returns the new file's path.
async fn write(guest: &Guest, directory: &str, path: &str, relay: &[u8]) -> Result<String> {
    let ownership = Ownership {
        uid: 0,
        gid: 0,
        mode: 0o700,
    };
    let (client, name) = (&guest.client, &guest.name);
    let content = Content::Directory(Vec::new());
    files::write(client, name, directory, GuestFile { ownership, content }).await?;
    let new = format!("{path}.{}", Uuid::new_v4().simple());
    files::write(client, name, &new, GuestFile::of_root(0o700, relay)).await?;
    Ok(new)
}

/// Runs the relay to its end. Returns the exit code if it did not start to listen.
async fn attempt(
    guest: &Guest,
    path: &str,
    new: &str,
    on_open: &impl Fn(RelayEndpoint),
) -> Result<i32> {
    let keys = Keys::random();
    let line = keys.config_line(guest.address, own_address(guest.address)?);
    let (mut input, stdin) = duplex(MAX_LINE_BYTES);
    let (stdout, output) = duplex(MAX_LINE_BYTES);
    let sent = input.write_all(line.as_bytes()).await;
    sent.map_err(|error| Error::io("cannot send a relay's configuration", error))?;
    let spec = ExecSpec::new(["sh", "-c", START, "sh", path, new]);
    let io = ExecIo::new(stdin, stdout, tokio::io::sink());
    let run = exec::run(&guest.client, &guest.name, &spec, io);
    tokio::pin!(run);
    let port = tokio::select! {
        result = &mut run => return result,
        port = timeout(START_TIMEOUT, read_port(output)) => port,
    };
    let Ok(Some((port, _output))) = port else {
        let message = format!("the relay in `{}` did not start in time", guest.name);
        return match port {
            // The exit code has the cause.
            Ok(None) => run.await,
            _ => Err(Error::new(ErrorKind::Timeout, message)),
        };
    };
    let address = SocketAddr::new(guest.address, port);
    on_open(RelayEndpoint { address, keys });
    run.await?;
    // The relay ends with its input.
    drop(input);
    // It worked once, so it may be started again, whatever ended it.
    Ok(0)
}

/// Reads the relay's port, and returns the stream, which must stay open.
async fn read_port(output: DuplexStream) -> Option<(u16, impl Sized)> {
    let mut output = BufReader::new(output.take(MAX_LINE_BYTES as u64));
    let mut line = String::new();
    output.read_line(&mut line).await.ok()?;
    Some((line.trim().parse().ok()?, output))
}

/// This machine's address on the route to the guest.
fn own_address(guest: IpAddr) -> Result<IpAddr> {
    let any: IpAddr = match guest {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket only chooses the route.
    let address = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((guest, 9))?;
        socket.local_addr()
    });
    let address = address.map_err(|error| {
        Error::new(ErrorKind::Unreachable, format!("no route to {guest}")).caused_by(error)
    })?;
    Ok(address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_is_a_static_program() {
        let packed = RELAY.unwrap();
        let relay = decompress(packed).unwrap();
        assert!(relay.starts_with(b"\x7fELF"));
        // A dynamic program contains the path of its loader.
        let loader = b"/ld-linux";
        assert!(!relay.windows(loader.len()).any(|part| part == loader));
        let name = file_name(packed);
        assert_eq!(name.len(), RELAY_NAME_PREFIX.len() + 12);
        assert_ne!(name, file_name(b"another"));
    }

    #[test]
    fn own_address_for_loopback_is_loopback() {
        let own = own_address(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(own, IpAddr::from(Ipv4Addr::LOCALHOST));
    }
}
