//! Passing bytes on, both ways, until both sides have ended.
//!
//! Between two sockets what is much isn't copied: the kernel moves pages through a pipe. A pipe is
//! borrowed only while something is on its way, so an idle connection holds none. There is no timeout: a
//! connection ends when a side ends it. What one side does, the other sees: an end of its sending as
//! an end (half-close), a reset as a reset.

use std::io;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

use super::counted::Counted;
use super::pipes::Pipes;
use super::traffic::Open;
use crate::backend::GuestStream;

/// Relays until the end. An error means that a side broke off, and the other is to be reset.
pub(super) async fn relay(
    client: &mut TcpStream,
    guest: &mut GuestStream,
    open: &Open,
    #[cfg_attr(
        not(target_os = "linux"),
        expect(unused_variables, reason = "only Linux moves bytes through pipes")
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
