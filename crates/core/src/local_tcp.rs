//! TCP between sockets that are both on this machine: a bridge or loopback in between, and no network.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use tokio::net::{TcpSocket, TcpStream};

/// A congestion control that every Linux kernel has, and lets everybody use.
#[cfg(target_os = "linux")]
const PLAIN: &str = "reno";

/// Connects, at once and disable_pacing.
///
/// # Errors
/// Those of connecting.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    disable_pacing(&socket);
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Has a socket, or those that are accepted at it, send as fast as is taken. Where the system's congestion control is BBR,
/// each socket measures its way and sends by a timer, which costs a third of the throughput here, for nothing: memory
/// loses no packets.
pub(crate) fn disable_pacing(socket: &impl AsFd) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_congestion(socket, PLAIN) {
        // It is only slower.
        tracing::debug!(%error, "a socket keeps the system's congestion control");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt::tcp_congestion;

    use super::*;

    #[tokio::test]
    async fn both_ends_are_unpaced() {
        let listener = TcpSocket::new_v4().unwrap();
        disable_pacing(&listener);
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let client = connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(tcp_congestion(&client).unwrap(), PLAIN);
        assert_eq!(tcp_congestion(&accepted).unwrap(), PLAIN);
    }
}
