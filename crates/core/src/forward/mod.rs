//! Decides which ports of which envs are forwarded.
//!
//! One process per user, the forwarder, has the listeners: the app, `serve`, or the first `proxy`. Other processes take
//! a lease over the control socket ([`Session`]); when the forwarder exits, one of them takes over. One task derives
//! listeners and routing tables from the view, the leases and the default targets ([`Forwarding`]).
//! Deliberately absent: bytes and protocols (`proxy`), and how an env is reached (`backend`).

mod actor;
mod handover;
mod headless;
mod listener_probe;
mod plan;
mod ports;
mod renames;
mod route_cache;
mod service;
mod session;
mod shared_file;
mod store;
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::ControlSocket;
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::{EnvName, GuestPort, HostPort, PortState};
use crate::operations::Operations;
use crate::proxy::Shared;
use crate::view::{EnvRef, FocusMove, ForwardView};
use crate::watch::Watch;

use actor::Actor;
pub use handover::Handover;
use handover::{HandoverServer, Inherited};
pub use plan::Scope;
use ports::Ports;
pub use session::{Forwarder, Session, list_brief};

/// Time for the task to prepare a handover.
const HANDOVER_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for open connections to end after another process took over.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Capacity of the command queue.
const QUEUE_CAPACITY: usize = 64;

/// Request to change the default target of ports.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FocusRequest {
    /// New default target.
    pub env: EnvRef,
    /// One port, or all ports of the env except those on which another env has open non-HTTP connections.
    pub port: Option<GuestPort>,
    /// Reset open connections to the previous target.
    pub cut: bool,
}

/// A handle on the forwards of this process.
#[derive(Clone)]
pub struct Forwarding {
    commands: mpsc::Sender<Command>,
    published: watch::Receiver<Vec<ForwardView>>,
    /// Number of the next lease.
    leases: Arc<AtomicU64>,
    /// Descriptor limit before it was raised.
    inherited: Option<u64>,
    connections: TaskTracker,
}

/// Commands to the task that owns the forwards.
enum Command {
    Lease(u64, Scope),
    EndLease(u64),
    Focus(FocusRequest, oneshot::Sender<Result<Vec<FocusMove>>>),
    Release(HostPort, oneshot::Sender<Result<()>>),
    Forwards(oneshot::Sender<Vec<ForwardView>>),
    HandoverServer(oneshot::Sender<HandoverServer>),
}

/// Keeps ports forwarded until dropped.
pub struct Lease {
    number: u64,
    commands: mpsc::Sender<Command>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (commands, number) = (self.commands.clone(), self.number);
        // Wait if the queue is full. Without a runtime the process is ending.
        if commands.try_send(Command::EndLease(number)).is_err()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { commands.send(Command::EndLease(number)).await });
        }
    }
}

impl Forwarding {
    /// Checks that the stored state is readable, before another process is asked to step down.
    ///
    /// # Errors
    /// `Io` and `Config` if it is not.
    pub fn check(home: &Home) -> Result<()> {
        store::Focus::read(home)?;
        store::OwnPorts::read(home)?;
        renames::Renames::read(home)?;
        Ok(())
    }

    /// Starts forwarding without leases and with the listeners of the previous process. Listening and the watch end with
    /// the token; `tasks` waits for them. Connections continue ([`Forwarding::connections`]) until the boot of their env
    /// ends.
    ///
    /// # Errors
    /// `Io` and `Config` if the stored state is not readable.
    pub async fn start(
        operations: &Arc<Operations>,
        control_socket: &mut ControlSocket,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<(Watch, Self)> {
        let inherited = Inherited::receive(control_socket).await;
        let watch = Watch::start(operations.clone(), tasks, shutdown.clone());
        let forwarding = Self::spawn(
            operations.clone(),
            &watch,
            tasks,
            shutdown.clone(),
            inherited,
        )?;
        Ok((watch, forwarding))
    }

    fn spawn(
        operations: Arc<Operations>,
        watch: &Watch,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
        inherited: Inherited,
    ) -> Result<Self> {
        let descriptors = inherited.descriptors;
        let (commands, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let (publisher, published) = watch::channel(Vec::new());
        let shared = Shared::default();
        let connections = shared.connections().clone();
        let ports = Ports::new(tasks.clone(), shared, inherited);
        let drained = CancellationToken::new();
        let ends = (shutdown.clone(), drained.clone());
        let mut actor = Actor::new(operations, publisher, ports, tasks.clone(), ends)?;
        let (watch, view, shown) = (watch.clone(), watch.view(), published.clone());
        let (listening, open) = (tasks.token(), connections.clone());
        tokio::spawn(async move {
            let _drained = drained.drop_guard();
            watch.show_forwards(shown).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = actor.run(view, receiver) => {}
            }
            let mut draining = actor.close().await;
            drop(listening);
            open.close();
            tokio::select! {
                () = open.wait() => {}
                () = draining.cut_ended() => {}
            }
        });
        let leases = Arc::default();
        Ok(Self {
            commands,
            published,
            leases,
            inherited: descriptors,
            connections,
        })
    }

    /// Forwards a scope until the lease is dropped.
    ///
    /// # Errors
    /// `Unreachable` after forwarding ended.
    pub async fn lease(&self, scope: Scope) -> Result<Lease> {
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        let commands = self.commands.clone();
        commands
            .send(Command::Lease(number, scope))
            .await
            .map_err(|_| ended())?;
        Ok(Lease { number, commands })
    }

    /// Makes an env the default target of its ports.
    ///
    /// # Errors
    /// `NotFound` for a port that the env does not have.
    pub async fn focus(&self, request: FocusRequest) -> Result<Vec<FocusMove>> {
        let (reply, receiver) = oneshot::channel();
        self.send(Command::Focus(request, reply)).await?;
        receiver.await.map_err(|_| ended())?
    }

    /// Releases a host port until a new lease requests it.
    ///
    /// # Errors
    /// `NotFound` for a port that is not forwarded.
    pub async fn release(&self, port: HostPort) -> Result<()> {
        let (reply, receiver) = oneshot::channel();
        self.send(Command::Release(port, reply)).await?;
        receiver.await.map_err(|_| ended())?
    }

    /// Returns the current forwards with their traffic counts.
    ///
    /// # Errors
    /// `Unreachable` after forwarding ended.
    pub async fn forwards(&self) -> Result<Vec<ForwardView>> {
        let (reply, receiver) = oneshot::channel();
        self.send(Command::Forwards(reply)).await?;
        receiver.await.map_err(|_| ended())
    }

    /// Open connections. They outlive forwarding; the caller that ends the process waits for them.
    #[must_use]
    pub fn connections(&self) -> &TaskTracker {
        &self.connections
    }

    /// Waits for open connections after a handover, until a timeout or `hurry`.
    pub async fn drain_connections(&self, hurry: impl Future<Output = ()>) {
        self.connections.close();
        tokio::select! {
            () = self.connections.wait() => {}
            () = tokio::time::sleep(DRAIN_TIMEOUT) => {}
            () = hurry => {}
        }
    }

    /// Hands control socket and listeners over to the next process, if there are leases besides `own_leases`, or if
    /// another process requested it. Must be called during forwarding. `served` returns the control socket
    /// after `answers` is cancelled.
    pub async fn hand_over(
        &self,
        home: &Home,
        own_leases: usize,
        is_requested: bool,
        answers: CancellationToken,
        served: impl Future<Output = Option<ControlSocket>>,
    ) -> Handover {
        // Count leases before clients disconnect.
        let server = self.prepare_handover().await.ok();
        let server = server.filter(|server| is_requested || server.leases > own_leases);
        answers.cancel();
        match (server, served.await) {
            (Some(server), Some(control_socket)) => server.hand_over(home, control_socket).await,
            (_, control_socket) => Handover::NotTaken(control_socket),
        }
    }

    /// Collects the state for the next process.
    async fn prepare_handover(&self) -> Result<HandoverServer> {
        let (reply, receiver) = oneshot::channel();
        let request = async {
            self.send(Command::HandoverServer(reply)).await?;
            receiver.await.map_err(|_| ended())
        };
        // A hanging engine must not delay the exit.
        let server = tokio::time::timeout(HANDOVER_TIMEOUT, request).await;
        server.unwrap_or_else(|_| Err(ended()))
    }

    /// Descriptor limit before it was raised, for child processes, some of which fail with a high limit. `None` without
    /// a limit.
    #[must_use]
    pub fn inherited_descriptors(&self) -> Option<u64> {
        self.inherited
    }

    /// Forwards, updated at each change except of traffic counts.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Vec<ForwardView>> {
        self.published.clone()
    }

    async fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| ended())
    }
}

/// Error for a port that an env does not have.
#[must_use]
pub fn no_such_port(env: &EnvName, port: GuestPort) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{env}` has no port {port}"))
        .with_hint(format!("add it: `lxc-dev-manager port add {env} {port}`"))
}

fn ended() -> Error {
    Error::new(ErrorKind::Unreachable, "forwarding ended")
}

/// Raises the descriptor limit, because each connection needs two. Returns the previous limit.
fn raise_descriptors() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    let before = getrlimit(Resource::Nofile).current;
    // macOS has a separate limit per process.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the descriptor limit");
    }
    before
}

/// Maximum number of connections, at two descriptors each. `None` without a limit.
#[must_use]
pub fn max_connections() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.maximum.map(|descriptors| descriptors / 2)
}

/// Returns the URL of a forward for a browser: by name if the system resolves it and the shared port is forwarded, else
/// by the env's own port. Queries the resolver.
#[must_use]
pub fn browser_url(forward: &ForwardView) -> String {
    use std::net::ToSocketAddrs;
    let known = (forward.name.as_str(), forward.host.get()).to_socket_addrs();
    let is_here = known.is_ok_and(|mut found| found.all(|address| address.ip().is_loopback()));
    let is_by_name = is_here && forward.state == PortState::Forwarded;
    let own = forward.stable_url().filter(|_| !is_by_name);
    own.unwrap_or_else(|| forward.url())
}

/// Renames an env in the stored state and notifies forwarders.
///
/// # Errors
/// `Io` and `Config` if the state is not readable or writable.
pub(crate) fn rename_env(home: &Home, old: &EnvRef, new: &EnvRef) -> Result<()> {
    store::Focus::read(home)?.rename(old, new)?;
    store::OwnPorts::read(home)?.rename(old, new)?;
    renames::Renames::read(home)?.add(old, new)
}

/// Reverts [`rename_env`] if it was the last rename of these envs.
///
/// # Errors
/// Those of [`rename_env`].
pub(crate) fn revert_rename(home: &Home, old: &EnvRef, new: &EnvRef) -> Result<()> {
    if renames::Renames::read(home)?.is_last(old, new) {
        rename_env(home, new, old)
    } else {
        Ok(())
    }
}

/// Stores an env as default target while no process forwards.
///
/// # Errors
/// `Io` if the state is not writable.
pub fn remember_focus(home: &Home, env: &EnvRef, ports: &[GuestPort]) -> Result<Vec<FocusMove>> {
    let mut focus = store::Focus::read(home)?;
    let mut moves = Vec::new();
    for port in ports {
        let port = port.on_host();
        let before = focus.set(port, env)?;
        moves.push(FocusMove {
            port,
            from: before.filter(|before| before != env),
            open_connections: None,
        });
    }
    Ok(moves)
}
