//! TCP within this machine, over loopback or a bridge.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use tokio::net::{TcpSocket, TcpStream};

/// Available to unprivileged processes on every Linux kernel.
#[cfg(target_os = "linux")]
const CONGESTION_CONTROL: &str = "reno";

/// Connects without pacing and without Nagle's algorithm.
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

/// Disables pacing of a socket, or of those that a listener accepts. BBR as the system's congestion control
/// paces by a timer, which costs a third of the local throughput.
pub(crate) fn disable_pacing(socket: &impl AsFd) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_congestion(socket, CONGESTION_CONTROL) {
        tracing::debug!(%error, "cannot disable pacing");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt::tcp_congestion;

    use super::*;

    #[tokio::test]
    async fn disables_pacing_at_both_ends() {
        let listener = TcpSocket::new_v4().unwrap();
        disable_pacing(&listener);
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let client = connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(tcp_congestion(&client).unwrap(), CONGESTION_CONTROL);
        assert_eq!(tcp_congestion(&accepted).unwrap(), CONGESTION_CONTROL);
    }
}
