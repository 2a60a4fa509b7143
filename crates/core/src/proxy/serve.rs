//! Accepts connections of a host port.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use rustix::net::sockopt::set_socket_linger;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Listeners;
use super::connection::{self, RoutedConnection};
use super::pipes::Pipes;
use super::relay::relay;
use super::table::Table;
use crate::backend::GuestStream;
use crate::model::HostPort;

/// Delays after a failed accept.
const ACCEPT_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(5))
    .with_max_delay(Duration::from_secs(1))
    .without_max_times();

/// Limit of open connections of a port.
const MAX_CONNECTIONS: usize = 8192;
/// Limit of targets dialled for clients that have not spoken yet.
const MAX_EARLY_TARGETS: usize = 1024;

/// Current routing tables of a port, and its limits.
pub struct Routes {
    tables: Mutex<Tables>,
    connections: Arc<Semaphore>,
    pub(super) early_targets: Arc<Semaphore>,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            tables: Mutex::default(),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            early_targets: Arc::new(Semaphore::new(MAX_EARLY_TARGETS)),
        }
    }
}

#[derive(Clone, Default)]
struct Tables {
    local: Arc<Table>,
    remote: Arc<Table>,
}

impl Routes {
    /// Replaces the tables for new connections: `local` for loopback, `remote` for other addresses.
    pub fn set(&self, local: Table, remote: Table) {
        *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = Tables {
            local: Arc::new(local),
            remote: Arc::new(remote),
        };
    }

    fn table(&self, client: &TcpStream) -> Arc<Table> {
        let tables = self
            .tables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let address = client
            .local_addr()
            .map(|address| address.ip().to_canonical());
        if address.is_ok_and(|address| address.is_loopback()) {
            tables.local
        } else {
            tables.remote
        }
    }
}

/// State shared by all ports of a process.
#[derive(Clone, Default)]
pub struct Shared {
    pipes: Arc<Pipes>,
    connections: TaskTracker,
}

impl Shared {
    /// Open connections, routed or not.
    #[must_use]
    pub fn connections(&self) -> &TaskTracker {
        &self.connections
    }
}

/// Serves a port until the token is cancelled. Accepted connections continue.
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
    let mut delays = ACCEPT_BACKOFF.build();
    let mut is_full = false;
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                delays = ACCEPT_BACKOFF.build();
                let Ok(permit) = routes.connections.clone().try_acquire_owned() else {
                    if !std::mem::replace(&mut is_full, true) {
                        tracing::warn!(%port, "refusing connections: {MAX_CONNECTIONS} are open");
                    }
                    reset(&client);
                    continue;
                };
                is_full = false;
                let opening = handle(client, port, routes.clone(), shared.pipes.clone());
                shared.connections.spawn(async move {
                    opening.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, %port, "cannot accept");
                tokio::time::sleep(delays.next().unwrap_or_default()).await;
            }
        }
    }
}

async fn handle(client: TcpStream, port: HostPort, routes: Arc<Routes>, pipes: Arc<Pipes>) {
    let table = routes.table(&client);
    // Boxed, because the large routing future is freed before relaying, which may take days. A separate task would cost a
    // thread wake-up.
    let routed = Box::pin(connection::open(client, &table, &routes, port)).await;
    drop((table, routes));
    if let Some(routed) = routed {
        relay_routed(routed, pipes).await;
    }
}

async fn relay_routed(routed: RoutedConnection, pipes: Arc<Pipes>) {
    let RoutedConnection {
        mut client,
        mut guest,
        upstream,
        http,
        cut,
    } = routed;
    let open = upstream.traffic.open(http);
    drop(upstream);
    let ended = tokio::select! {
        biased;
        () = cut.cancelled() => Err(std::io::ErrorKind::ConnectionAborted.into()),
        ended = relay(&mut client, &mut guest, &open, &pipes) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection broken");
        reset(&client);
        if let GuestStream::Socket(guest) = &guest {
            reset(guest);
        }
    }
}

/// Makes closing the socket send a reset.
fn reset(socket: &TcpStream) {
    // Fails only if the peer is already gone.
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}
