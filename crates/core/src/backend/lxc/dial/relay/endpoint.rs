//! Connections through an open relay: we send our key and a port, it responds with its key and a
//! status byte.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::backend::lxc::dial::guest::Guest;
use crate::error::{Error, ErrorKind, Result};
use crate::hex;
use crate::local_tcp;
use crate::model::GuestPort;

const KEY_BYTES: usize = 16;
/// Includes the relay's connection to the service in its guest.
const TIMEOUT: Duration = Duration::from_secs(5);

// Status bytes.
const CONNECTED: u8 = 0;
const REFUSED: u8 = 1;

/// Secrets that authenticate both sides. Never shown.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    host: [u8; KEY_BYTES],
    relay: [u8; KEY_BYTES],
}

impl Keys {
    pub(super) fn random() -> Self {
        let [host, relay] = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
        Self { host, relay }
    }

    /// The line that starts a relay; see `crates/relay/src/config.rs`.
    pub(super) fn config_line(&self, relay: IpAddr, host: IpAddr) -> String {
        let keys = [self.host, self.relay].map(|key| hex::encode(&key));
        format!("{} {} {relay} {host}\n", keys[0], keys[1])
    }
}

#[derive(Clone, Copy)]
pub(super) struct RelayEndpoint {
    pub(super) address: SocketAddr,
    pub(super) keys: Keys,
}

/// Outcome of a connection.
pub(super) enum Connection {
    Connected(TcpStream),
    /// The guest's port is closed.
    Refused,
    /// The relay has ended or is ending.
    Closed,
}

impl RelayEndpoint {
    /// Connects to a port of the relay's loopback.
    pub(super) async fn connect(&self, port: GuestPort, guest: &Guest) -> Result<Connection> {
        let result = match timeout(TIMEOUT, self.request(port)).await {
            Ok(result) => result,
            Err(_) => {
                guest.ensure_running().await?;
                let message = format!("port {port} of `{}` is not responding", guest.name);
                return Err(Error::new(ErrorKind::Timeout, message));
            }
        };
        match result {
            Ok((response, _)) if response[..KEY_BYTES] != self.keys.relay => {
                let message = format!("{} no longer belongs to `{}`", self.address, guest.name);
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Ok((response, stream)) => match response[KEY_BYTES] {
                CONNECTED => Ok(Connection::Connected(stream)),
                REFUSED => Ok(Connection::Refused),
                _ => {
                    let message = format!("`{}` accepts no more connections", guest.name);
                    Err(Error::new(ErrorKind::Guest, message))
                }
            },
            Err(error) if is_local(&error) => {
                let message = format!("cannot connect to {} of `{}`", self.address, guest.name);
                Err(Error::io(message, error))
            }
            Err(_) => Ok(Connection::Closed),
        }
    }

    async fn request(&self, port: GuestPort) -> io::Result<([u8; KEY_BYTES + 1], TcpStream)> {
        let mut stream = local_tcp::connect(self.address).await?;
        let mut request = [0; KEY_BYTES + 2];
        request[..KEY_BYTES].copy_from_slice(&self.keys.host);
        request[KEY_BYTES..].copy_from_slice(&port.get().to_be_bytes());
        stream.write_all(&request).await?;
        let mut response = [0; KEY_BYTES + 1];
        stream.read_exact(&mut response).await?;
        Ok((response, stream))
    }
}

/// Whether the cause is on this machine: no descriptors or ports left, or a firewall.
fn is_local(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkUnreachable, NotConnected, TimedOut, UnexpectedEof,
    };
    !matches!(
        error.kind(),
        BrokenPipe
            | ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | NotConnected
            | TimedOut
            | UnexpectedEof
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_line_has_both_keys_and_addresses() {
        let mut keys = Keys::random();
        keys.host = [0xab; KEY_BYTES];
        let line = keys.config_line([10, 1, 2, 3].into(), [10, 1, 2, 1].into());
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        assert_eq!(words[0], "ab".repeat(KEY_BYTES));
        assert_eq!(words[1].len(), 2 * KEY_BYTES);
        assert_eq!(words[2..], ["10.1.2.3", "10.1.2.1"]);
        assert!(line.ends_with('\n'));
    }
}
