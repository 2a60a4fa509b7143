//! Relays bytes in both directions until both sides have ended.
//!
//! Large transfers between sockets are spliced through pooled pipes; idle connections hold none. There is no timeout.
//! Half-closes and resets are passed on.

use std::io;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

use super::counted::Counted;
use super::pipes::Pipes;
use super::traffic::Open;
use crate::backend::GuestStream;

/// Relays until the end. After an error the caller resets both sides.
pub(super) async fn relay(
    client: &mut TcpStream,
    guest: &mut GuestStream,
    open: &Open,
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "only Linux has splice")
    )]
    pipes: &Pipes,
) -> io::Result<()> {
    match guest {
        #[cfg(target_os = "linux")]
        GuestStream::Socket(guest) => sockets(client, guest, open, pipes).await,
        guest => {
            let mut counted = Counted::new(client, open.traffic());
            let copied = copy_bidirectional_with_sizes(
                &mut counted,
                guest,
                GuestStream::PACKET,
                GuestStream::PACKET,
            );
            copied.await.map(drop)
        }
    }
}

#[cfg(target_os = "linux")]
async fn sockets(
    client: &mut TcpStream,
    guest: &mut TcpStream,
    open: &Open,
    pipes: &Pipes,
) -> io::Result<()> {
    use super::splice::pump;
    use super::traffic::Direction;
    let (from_client, to_client) = client.split();
    let (from_guest, to_guest) = guest.split();
    let up = pump(from_client, to_guest, pipes, |n| {
        open.traffic().count(Direction::ToGuest, n)
    });
    let down = pump(from_guest, to_client, pipes, |n| {
        open.traffic().count(Direction::ToClient, n)
    });
    futures_util::future::try_join(up, down).await.map(drop)
}
