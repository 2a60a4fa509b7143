//! An open relay, and how a connection begins: with our key and a port, answered by its key and a byte.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::backend::lxc::dial::guest::Guest;
use crate::error::{Error, ErrorKind, Result};
use crate::local_tcp;
use crate::model::GuestPort;

/// Bytes of a key.
const KEY: usize = 16;
/// How long a relay may take to answer: the service that it asks is in its own guest.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the byte says.
const CONNECTED: u8 = 0;
const REFUSED: u8 = 1;

/// What the two sides know of each other. Never shown.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    ours: [u8; KEY],
    its: [u8; KEY],
}

impl Keys {
    /// Keys that nobody else knows.
    pub(super) fn random() -> Self {
        let [ours, its] = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
        Self { ours, its }
    }

    /// The line that a relay begins with; see `crates/relay/src/order.rs`.
    pub(super) fn order(&self, address: IpAddr, visitor: IpAddr) -> String {
        let mut line = String::new();
        for key in [self.ours, self.its] {
            for byte in key {
                // Writing into a string doesn't fail.
                let _ = write!(line, "{byte:02x}");
            }
            line.push(' ');
        }
        format!("{line}{address} {visitor}\n")
    }
}

/// Where a relay listens.
#[derive(Clone, Copy)]
pub(super) struct RelayEndpoint {
    pub(super) address: SocketAddr,
    pub(super) keys: Keys,
}

/// What became of a connection.
pub(super) enum Entered {
    /// It stands.
    Connected(TcpStream),
    /// Nobody listens on the port.
    Refused,
    /// The relay isn't there, or is just ending.
    Closed,
}

impl RelayEndpoint {
    /// Connects to a port of the relay's loopback.
    pub(super) async fn enter(&self, port: GuestPort, guest: &Guest) -> Result<Entered> {
        let asked = timeout(TIMEOUT, self.ask(port)).await;
        let asked = match asked {
            Ok(asked) => asked,
            Err(_) => {
                guest.expect_present().await?;
                let message = format!("port {port} of `{}` gives no answer", guest.name);
                return Err(Error::new(ErrorKind::Timeout, message));
            }
        };
        match asked {
            Ok((answer, _)) if answer[..KEY] != self.keys.its => {
                let message = format!("{} doesn't belong to `{}` now", self.address, guest.name);
                Err(Error::new(ErrorKind::Conflict, message))
            }
            Ok((answer, stream)) => match answer[KEY] {
                CONNECTED => Ok(Entered::Connected(stream)),
                REFUSED => Ok(Entered::Refused),
                _ => {
                    let message = format!("`{}` can't take more connections now", guest.name);
                    Err(Error::new(ErrorKind::Guest, message))
                }
            },
            Err(error) if is_ours(&error) => {
                let message = format!("cannot connect to {} of `{}`", self.address, guest.name);
                Err(Error::io(message, error))
            }
            Err(_) => Ok(Entered::Closed),
        }
    }

    async fn ask(&self, port: GuestPort) -> io::Result<([u8; KEY + 1], TcpStream)> {
        let mut stream = local_tcp::connect(self.address).await?;
        let mut question = [0; KEY + 2];
        question[..KEY].copy_from_slice(&self.keys.ours);
        question[KEY..].copy_from_slice(&port.get().to_be_bytes());
        stream.write_all(&question).await?;
        let mut answer = [0; KEY + 1];
        stream.read_exact(&mut answer).await?;
        Ok((answer, stream))
    }
}

/// Whether it is this machine that has no descriptors or ports left, or a firewall.
fn is_ours(error: &io::Error) -> bool {
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
    fn the_order_has_both_keys_and_both_addresses() {
        let mut keys = Keys::random();
        keys.ours = [0xab; KEY];
        let order = keys.order([10, 1, 2, 3].into(), [10, 1, 2, 1].into());
        let words: Vec<&str> = order.trim_end().split(' ').collect();
        assert_eq!(words[0], "ab".repeat(KEY));
        assert_eq!(words[1].len(), 2 * KEY);
        assert_eq!(words[2..], ["10.1.2.3", "10.1.2.1"]);
        assert!(order.ends_with('\n'));
    }
}
