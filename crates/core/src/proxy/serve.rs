//! Accepting connections of one host port.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Listeners;
use super::connection::{self, Passage};
use super::pipes::Pipes;
use super::relay::relay;
use super::table::Table;
use crate::backend::GuestStream;
use crate::model::HostPort;

/// Pause after a refused accept (no descriptors left, say), doubled up to the second value.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Who a port's connections may go to, now.
#[derive(Default)]
pub struct Routes(Mutex<Both>);

#[derive(Clone, Default)]
struct Both {
    inside: Arc<Table>,
    outside: Arc<Table>,
}

impl Routes {
    /// Replaces them, for connections that come from now on: the one for connections from this machine,
    /// and the one for those that come in by another address than loopback.
    pub fn set(&self, inside: Table, outside: Table) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Both {
            inside: Arc::new(inside),
            outside: Arc::new(outside),
        };
    }

    fn table(&self, client: &TcpStream) -> Arc<Table> {
        let both = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let address = client
            .local_addr()
            .map(|address| address.ip().to_canonical());
        match address.is_ok_and(|address| address.is_loopback()) {
            true => both.inside,
            false => both.outside,
        }
    }
}

/// What all ports of a process share.
#[derive(Clone, Default)]
pub struct Shared {
    pipes: Arc<Pipes>,
    connections: TaskTracker,
}

impl Shared {
    /// Connections that are open, on their way or before it: for who wants to wait for their end.
    #[must_use]
    pub fn connections(&self) -> &TaskTracker {
        &self.connections
    }
}

/// Serves a port until the token is cancelled. Connections that were accepted go on by themselves, for as
/// long as they want.
pub async fn serve(
    listeners: Arc<Listeners>,
    routes: Arc<Routes>,
    shared: Shared,
    shutdown: CancellationToken,
) {
    let port = listeners.port();
    let accepting = listeners
        .sockets
        .iter()
        .map(|listener| accept(listener, port, &routes, &shared));
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = futures_util::future::join_all(accepting) => {}
    }
}

async fn accept(listener: &TcpListener, port: HostPort, routes: &Arc<Routes>, shared: &Shared) {
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                pause = ACCEPT_PAUSE.0;
                let opening = begin(client, port, routes.clone(), shared.pipes.clone());
                shared.connections.spawn(opening);
            }
            Err(error) => {
                tracing::warn!(%error, %port, "cannot accept");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
}

async fn begin(client: TcpStream, port: HostPort, routes: Arc<Routes>, pipes: Arc<Pipes>) {
    let table = routes.table(&client);
    // Large and short: it is given back before the part that may take days. A task of its own for that
    // would wake another thread, which costs more than all else here.
    let passage = Box::pin(connection::open(client, &table, port)).await;
    drop(table);
    if let Some(passage) = passage {
        pass(passage, pipes).await;
    }
}

async fn pass(passage: Passage, pipes: Arc<Pipes>) {
    let Passage {
        mut client,
        mut guest,
        upstream,
        http,
        cut,
    } = passage;
    let open = upstream.traffic.open(http);
    drop(upstream);
    let ended = tokio::select! {
        biased;
        () = cut.cancelled() => Err(std::io::ErrorKind::ConnectionAborted.into()),
        ended = relay(&mut client, &mut guest, &open, &pipes) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
        reset(&client);
        if let GuestStream::Socket(guest) = &guest {
            reset(guest);
        }
    }
}

/// Lets the other side see a reset when the socket is closed, not an end like any other.
fn reset(socket: &TcpStream) {
    // One that is gone already needs none.
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}
