//! Forwards: which ports of which envs are forwarded, for whom, and by whom.
//!
//! One process of a user holds the listeners: the app, `serve`, or the first `proxy`. Whoever else wants
//! ports forwarded takes a lease there, over the control socket ([`Session`]); when the holder goes, one
//! of them takes over. What is forwarded follows from the living view, the leases, and who has a port's
//! focus; one task folds that into listeners and tables ([`Forwarding`]).
//! Deliberately absent: bytes and protocols (`proxy`), and how an env is reached (`backend`).

mod actor;
mod answers;
mod handover;
mod headless;
mod plan;
mod ports;
mod remembered;
mod renames;
mod route_cache;
mod service;
mod session;
mod store;
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Holder;
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

/// How long the one task may take to tell what is left.
const LEGACY: Duration = Duration::from_millis(500);
/// How long connections may take to end when somebody else forwards by now.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Orders that may wait.
const BACKLOG: usize = 64;

/// A change of focus that somebody wants.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FocusRequest {
    /// Who gets it.
    pub env: EnvRef,
    /// Of which port; of all of the env's where none is named, but for those that another env has open
    /// connections on which aren't HTTP.
    pub port: Option<GuestPort>,
    /// Open connections to who had it are reset.
    pub cut: bool,
}

/// A handle on the forwards of this process.
#[derive(Clone)]
pub struct Forwarding {
    orders: mpsc::Sender<Order>,
    told: watch::Receiver<Vec<ForwardView>>,
    /// The next lease's number.
    leases: Arc<AtomicU64>,
    /// How many descriptors this process might have before.
    inherited: Option<u64>,
    connections: TaskTracker,
}

/// What the owner of the forwards is asked.
enum Order {
    Lease(u64, Scope),
    EndLease(u64),
    Focus(FocusRequest, oneshot::Sender<Result<Vec<FocusMove>>>),
    Release(HostPort, oneshot::Sender<Result<()>>),
    Forwards(oneshot::Sender<Vec<ForwardView>>),
    /// The listeners, for who forwards next, and how many leases there are.
    HandoverServer(oneshot::Sender<HandoverServer>),
}

/// Ports are forwarded for somebody as long as this is kept.
pub struct Lease {
    number: u64,
    orders: mpsc::Sender<Order>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (orders, number) = (self.orders.clone(), self.number);
        // Where the order queue is full it has to wait; where there is no runtime, all ends anyway.
        if orders.try_send(Order::EndLease(number)).is_err()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { orders.send(Order::EndLease(number)).await });
        }
    }
}

impl Forwarding {
    /// Whether what forwards remember can be read: to be asked before somebody else is made to give way.
    ///
    /// # Errors
    /// `Io` and `Config` where it can't.
    pub fn check(home: &Home) -> Result<()> {
        store::Focus::read(home)?;
        store::Stable::read(home)?;
        renames::Renames::read(home)?;
        Ok(())
    }

    /// Takes up forwarding, for nobody yet, with what the one before hands over to the holder. Listening, and the watch,
    /// end with the token, and `tasks` waits for them. Connections go on ([`Forwarding::connections`]), and are cut when
    /// their env's boot is over, for as long as the process lasts.
    ///
    /// # Errors
    /// `Io` and `Config` where our own state can't be read.
    pub async fn take_up(
        operations: &Arc<Operations>,
        holder: &mut Holder,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<(Watch, Self)> {
        let inherited = Inherited::of(holder).await;
        let watch = Watch::start(operations.clone(), tasks, shutdown.clone());
        let forwarding = Self::start(
            operations.clone(),
            &watch,
            tasks,
            shutdown.clone(),
            inherited,
        )?;
        Ok((watch, forwarding))
    }

    fn start(
        operations: Arc<Operations>,
        watch: &Watch,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
        legacy: Inherited,
    ) -> Result<Self> {
        let inherited = legacy.descriptors;
        let (orders, receiver) = mpsc::channel(BACKLOG);
        let (teller, told) = watch::channel(Vec::new());
        let shared = Shared::default();
        let connections = shared.connections().clone();
        let ports = Ports::new(tasks.clone(), shared, legacy);
        let over = CancellationToken::new();
        let ends = (shutdown.clone(), over.clone());
        let mut actor = Actor::new(operations, teller, ports, tasks.clone(), ends)?;
        let (watch, shown) = (watch.clone(), told.clone());
        let (listening, open) = (tasks.token(), connections.clone());
        tokio::spawn(async move {
            let _over = over.drop_guard();
            watch.show_forwards(shown).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = actor.run(watch, receiver) => {}
            }
            let mut drain_connections = actor.close().await;
            drop(listening);
            open.close();
            tokio::select! {
                () = open.wait() => {}
                () = drain_connections.cut() => {}
            }
        });
        let leases = Arc::default();
        Ok(Self {
            orders,
            told,
            leases,
            inherited,
            connections,
        })
    }

    /// Forwards what is wanted until the lease is dropped.
    ///
    /// # Errors
    /// `Unreachable` where forwarding has ended.
    pub async fn lease(&self, scope: Scope) -> Result<Lease> {
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        let orders = self.orders.clone();
        orders
            .send(Order::Lease(number, scope))
            .await
            .map_err(|_| ended())?;
        Ok(Lease { number, orders })
    }

    /// Gives an env the focus of its ports.
    ///
    /// # Errors
    /// `NotFound` for a port that it doesn't have.
    pub async fn focus(&self, request: FocusRequest) -> Result<Vec<FocusMove>> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Focus(request, answer)).await?;
        answered.await.map_err(|_| ended())?
    }

    /// Gives a port of this machine up, until somebody wants it anew.
    ///
    /// # Errors
    /// `NotFound` for one that isn't forwarded.
    pub async fn release(&self, port: HostPort) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Release(port, answer)).await?;
        answered.await.map_err(|_| ended())?
    }

    /// What is forwarded now, with what has passed so far.
    ///
    /// # Errors
    /// `Unreachable` where forwarding has ended.
    pub async fn forwards(&self) -> Result<Vec<ForwardView>> {
        let (answer, answered) = oneshot::channel();
        self.ask(Order::Forwards(answer)).await?;
        answered.await.map_err(|_| ended())
    }

    /// The connections that are open. They outlive the forwarding, for as long as the process does: it is theirs who
    /// ends that to wait for them.
    #[must_use]
    pub fn connections(&self) -> &TaskTracker {
        &self.connections
    }

    /// Waits for the connections that are open, once another process forwards: for a while, and no longer than
    /// until `hurry`.
    pub async fn drain_connections(&self, hurry: impl Future<Output = ()>) {
        self.connections.close();
        tokio::select! {
            () = self.connections.wait() => {}
            () = tokio::time::sleep(DRAIN_TIMEOUT) => {}
            () = hurry => {}
        }
    }

    /// Ends answering, and hands the listeners to who answers next: to those who have a lease here beside this process's
    /// `own`, or, where somebody has asked for it (`must`), to whoever comes. To be called while forwarding goes on, and
    /// with `served` giving the right to answer back once `answers` is cancelled.
    pub async fn pass_on(
        &self,
        home: &Home,
        (own, must): (usize, bool),
        answers: CancellationToken,
        served: impl Future<Output = Option<Holder>>,
    ) -> Handover {
        // While others still have their leases, and can be counted.
        let legacy = self.legacy().await.ok();
        let legacy = legacy.filter(|legacy| must || legacy.leases > own);
        answers.cancel();
        match (legacy, served.await) {
            (Some(legacy), Some(holder)) => legacy.hand_over(home, holder).await,
            (_, holder) => Handover::NotOver(holder),
        }
    }

    /// What is left to who forwards next.
    async fn legacy(&self) -> Result<HandoverServer> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.ask(Order::HandoverServer(answer)).await?;
            answered.await.map_err(|_| ended())
        };
        // At the end of a process nobody waits for an engine that hangs.
        let answered = tokio::time::timeout(LEGACY, asked).await;
        answered.unwrap_or_else(|_| Err(ended()))
    }

    /// How many descriptors this process might have before it forwarded, for the programs that it starts: some fail
    /// with as many as it has now. `None` for as many as it likes.
    #[must_use]
    pub fn inherited_descriptors(&self) -> Option<u64> {
        self.inherited
    }

    /// What is forwarded, told at each change of anything but what passes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Vec<ForwardView>> {
        self.told.clone()
    }

    async fn ask(&self, order: Order) -> Result<()> {
        self.orders.send(order).await.map_err(|_| ended())
    }
}

/// The error for a port that an env doesn't have.
#[must_use]
pub fn no_such_port(env: &EnvName, port: GuestPort) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{env}` has no port {port}")).with_hint(format!(
        "give it one: `lxc-dev-manager port add {env} {port}`"
    ))
}

fn ended() -> Error {
    Error::new(ErrorKind::Unreachable, "forwarding has ended")
}

/// Takes as many descriptors as this user may have: two for each connection. Returns how many there might be before.
fn raise_descriptors() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    let before = getrlimit(Resource::Nofile).current;
    // Some systems set no limit here and have one elsewhere.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    before
}

/// How many connections there may be at once: two descriptors each; `None` for as many as memory has.
#[must_use]
pub fn most_connections() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.maximum.map(|descriptors| descriptors / 2)
}

/// Where a browser finds a forward: by its name where this system's resolver knows it and the shared port
/// could be had, else by the env's own port. Asks the resolver.
#[must_use]
pub fn browser_url(forward: &ForwardView) -> String {
    use std::net::ToSocketAddrs;
    let known = (forward.name.as_str(), forward.host.get()).to_socket_addrs();
    let is_here = known.is_ok_and(|mut found| found.all(|address| address.ip().is_loopback()));
    let is_by_name = is_here && forward.state == PortState::Forwarded;
    let own = forward.stable_url().filter(|_| !is_by_name);
    own.unwrap_or_else(|| forward.url())
}

/// What is remembered of an env is so under its new name, and those who forward learn that it has one.
///
/// # Errors
/// `Io` and `Config` where that can't be read or written.
pub(crate) fn carry_over(home: &Home, old: &EnvRef, new: &EnvRef) -> Result<()> {
    store::Focus::read(home)?.rename(old, new)?;
    store::Stable::read(home)?.rename(old, new)?;
    renames::Renames::read(home)?.add(old, new)
}

/// Takes back what [`carry_over`] has done, if it has: an env that had the new name before may have left its own there.
///
/// # Errors
/// Those of [`carry_over`].
pub(crate) fn carry_back(home: &Home, old: &EnvRef, new: &EnvRef) -> Result<()> {
    match renames::Renames::read(home)?.ends_with(old, new) {
        true => carry_over(home, new, old),
        false => Ok(()),
    }
}

/// Gives an env the focus where nobody forwards now: the next who does will know.
///
/// # Errors
/// `Io` where it can't be written.
pub fn remember_focus(home: &Home, env: &EnvRef, ports: &[GuestPort]) -> Result<Vec<FocusMove>> {
    let mut focus = store::Focus::read(home)?;
    let mut moves = Vec::new();
    for port in ports {
        let port = port.on_host();
        let before = focus.set(port, env)?;
        moves.push(FocusMove {
            port,
            from: before.filter(|before| before != env),
            kept_by: None,
        });
    }
    Ok(moves)
}
