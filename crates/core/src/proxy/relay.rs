//! Accepting connections and passing their bytes on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Listeners;
use crate::backend::GuestStream;
use crate::error::Result;

/// How a connection to the service in the env is made.
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, Result<GuestStream>> + Send + Sync>;

/// Pause after a refused accept (no descriptors left, say), doubled up to the second value.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Serves a port until the token is cancelled; then ends its connections and returns.
pub async fn serve(listeners: Listeners, shutdown: CancellationToken, dial: Dial) {
    let connections = TaskTracker::new();
    let Listeners { v4, v6, .. } = listeners;
    let families = async {
        let v6 = async {
            match v6 {
                Some(listener) => accept(listener, &connections, &shutdown, &dial).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(accept(v4, &connections, &shutdown, &dial), v6)
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = families => {}
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: TcpListener,
    connections: &TaskTracker,
    shutdown: &CancellationToken,
    dial: &Dial,
) {
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                pause = ACCEPT_PAUSE.0;
                let (dial, shutdown) = (dial.clone(), shutdown.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        ended = connect(client, &dial) => {
                            if let Err(error) = ended {
                                tracing::debug!(%error, "a connection ended");
                            }
                        }
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
}

async fn connect(mut client: TcpStream, dial: &Dial) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut guest = dial().await.map_err(io::Error::other)?;
    copy_bidirectional(&mut client, &mut guest).await.map(drop)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::model::HostPort;

    #[tokio::test]
    async fn bytes_pass_and_a_half_close_arrives() {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = service.local_addr().unwrap();
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let listeners = super::super::bind(HostPort::new(free).unwrap())
            .await
            .unwrap();
        let dial: Dial = Arc::new(move || {
            Box::pin(async move {
                let stream = TcpStream::connect(target).await;
                let stream = stream.map_err(|error| crate::Error::io("dial", error))?;
                Ok(GuestStream::Socket(stream))
            })
        });
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(listeners, shutdown.clone(), dial));
        let mut client = TcpStream::connect(("127.0.0.1", free)).await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut guest, _) = service.accept().await.unwrap();
        let mut heard = Vec::new();
        guest.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");
        guest.write_all(b"answer").await.unwrap();
        drop(guest);
        heard.clear();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");
        shutdown.cancel();
        served.await.unwrap();
        assert!(
            TcpStream::connect(("127.0.0.1", free)).await.is_err(),
            "it still listens"
        );
    }
}
