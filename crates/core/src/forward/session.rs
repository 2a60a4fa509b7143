//! A process that needs ports forwarded: it is the forwarder, or has leases there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::headless::Headless;
use super::renames::Renames;
use super::{DRAIN_TIMEOUT, FocusRequest, Forwarding, Handover, Scope};
use crate::control::{self, Client, ControlSocket, Push, Request, Response, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::HostPort;
use crate::operations::Operations;
use crate::view::{FocusMove, ForwardView};

/// Time for the app to take over after a step-down.
const STEP_DOWN_DELAY: Duration = Duration::from_millis(500);
/// Time for the owner of the lock to respond: the app starts slowly.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Retry intervals, doubled from the first to the second: long enough for the app, which retries faster, to win.
const RETRY_INTERVALS: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(500));
/// Time for tasks to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// Lists must not hang with the forwarder.
const BRIEF_TIMEOUT: Duration = Duration::from_millis(50);

/// The process that forwards.
#[derive(Clone)]
pub enum Forwarder {
    /// This process.
    Local(Forwarding),
    /// Another process.
    Remote(Arc<Client>),
}

impl Forwarder {
    /// Connects to the current forwarder without a lease.
    ///
    /// # Errors
    /// `Unreachable` if no process forwards.
    pub async fn connect(home: &Home) -> Result<Self> {
        let (client, _) = Client::connect(home, Role::Cli).await?;
        Ok(Self::Remote(Arc::new(client)))
    }

    /// See [`Forwarding::forwards`].
    ///
    /// # Errors
    /// `Unreachable` if the forwarder is gone.
    pub async fn forwards(&self) -> Result<Vec<ForwardView>> {
        match self {
            Self::Local(forwarding) => forwarding.forwards().await,
            Self::Remote(client) => match client.request(Request::Forwards).await? {
                Response::Forwards { forwards } => Ok(forwards),
                _ => Err(unexpected()),
            },
        }
    }

    /// See [`Forwarding::focus`].
    ///
    /// # Errors
    /// Those of [`Forwarding::focus`]; `Unreachable` if the forwarder is gone.
    pub async fn focus(&self, focus: FocusRequest) -> Result<Vec<FocusMove>> {
        match self {
            Self::Local(forwarding) => forwarding.focus(focus).await,
            Self::Remote(client) => match client.request(Request::Focus { focus }).await? {
                Response::Moves { moves } => Ok(moves),
                _ => Err(unexpected()),
            },
        }
    }

    /// See [`Forwarding::release`].
    ///
    /// # Errors
    /// Those of [`Forwarding::release`]; `Unreachable` if the forwarder is gone.
    pub async fn release(&self, port: HostPort) -> Result<()> {
        match self {
            Self::Local(forwarding) => forwarding.release(port).await,
            Self::Remote(client) => client.request(Request::Release { port }).await.map(drop),
        }
    }
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "unexpected response")
}

/// Returns the current forwards; empty if no process forwards or the forwarder is slow.
pub async fn list_brief(home: &Home) -> Vec<ForwardView> {
    let request = async { Forwarder::connect(home).await?.forwards().await };
    match tokio::time::timeout(BRIEF_TIMEOUT, request).await {
        Ok(Ok(forwards)) => forwards,
        _ => Vec::new(),
    }
}

/// Handle on the part of this process in forwarding.
pub struct Session {
    forwarder: watch::Receiver<Option<Forwarder>>,
    forwards: watch::Receiver<Vec<ForwardView>>,
    scopes: watch::Receiver<Vec<Scope>>,
    draining: watch::Receiver<usize>,
}

/// State of the running future, published to the [`Session`].
struct Publisher {
    forwarder: watch::Sender<Option<Forwarder>>,
    forwards: watch::Sender<Vec<ForwardView>>,
    scopes: watch::Sender<Vec<Scope>>,
    /// Number of connections that delay the end.
    draining: watch::Sender<usize>,
    renames: Renames,
    /// Connections from before each handover.
    handed_over: Vec<TaskTracker>,
}

impl Session {
    /// Requests scopes. The future runs until the token is cancelled and takes over when the forwarder exits.
    ///
    /// # Errors
    /// The future: `Unsupported` for a forwarder of another version, `Timeout` if it hangs, `Io` for unusable state.
    pub fn new(
        operations: Arc<Operations>,
        scopes: Vec<Scope>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = Result<()>> + Send) {
        let (forwarder, forwarder_receiver) = watch::channel(None);
        let (forwards, forwards_receiver) = watch::channel(Vec::new());
        let (scopes, scopes_receiver) = watch::channel(scopes);
        let (draining, draining_receiver) = watch::channel(0);
        let session = Self {
            forwarder: forwarder_receiver,
            forwards: forwards_receiver,
            scopes: scopes_receiver,
            draining: draining_receiver,
        };
        let renames = Renames::read(operations.home());
        let running = async move {
            let renames = renames?;
            let publisher = Publisher {
                forwarder,
                forwards,
                scopes,
                draining,
                renames,
                handed_over: Vec::new(),
            };
            run(operations, publisher, shutdown).await
        };
        (session, running)
    }

    /// Returns the current forwarder; waits until there is one.
    ///
    /// # Errors
    /// `Unreachable` after the session ended.
    pub async fn forwarder(&self) -> Result<Forwarder> {
        let mut forwarder = self.forwarder.clone();
        let found = forwarder.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|forwarder| forwarder.clone());
        found.ok_or_else(|| Error::new(ErrorKind::Unreachable, "forwarding ended"))
    }

    /// The forwarder, updated at each change; `None` in between.
    #[must_use]
    pub fn forwarders(&self) -> watch::Receiver<Option<Forwarder>> {
        self.forwarder.clone()
    }

    /// Forwards, updated at each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Vec<ForwardView>> {
        self.forwards.clone()
    }

    /// Number of connections that delay the end after a handover. Dropping the future cuts them.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<usize> {
        self.draining.clone()
    }

    /// Requested scopes, which follow renames.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        self.scopes.borrow().clone()
    }
}

impl Publisher {
    /// Returns the scopes with current names.
    fn current_scopes(&mut self) -> Vec<Scope> {
        match self.renames.take_new() {
            Ok(renames) if !renames.is_empty() => {
                let follow = |scope: &mut Scope| scope.apply_renames(&renames);
                self.scopes
                    .send_modify(|scopes| scopes.iter_mut().for_each(follow));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(?error, "cannot read renames"),
        }
        self.scopes.borrow().clone()
    }

    /// Waits for connections from before handovers, up to a timeout.
    async fn drain(&self) {
        let end = tokio::time::Instant::now() + DRAIN_TIMEOUT;
        for connections in &self.handed_over {
            connections.close();
            self.draining.send_replace(connections.len());
            if tokio::time::timeout_at(end, connections.wait())
                .await
                .is_err()
            {
                tracing::warn!(draining = connections.len(), "cutting connections");
            }
        }
    }

    /// Publishes forwards, after the scopes follow renames.
    fn publish(&mut self, forwards: Vec<ForwardView>) {
        self.current_scopes();
        self.forwards.send_replace(forwards);
    }
}

async fn run(
    operations: Arc<Operations>,
    mut publisher: Publisher,
    shutdown: CancellationToken,
) -> Result<()> {
    let result = run_until_shutdown(&operations, &mut publisher, &shutdown).await;
    publisher.drain().await;
    result
}

/// Forwards or has leases, in turn, until shutdown.
async fn run_until_shutdown(
    operations: &Arc<Operations>,
    publisher: &mut Publisher,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut interval = RETRY_INTERVALS.0;
    let mut was_connected = false;
    let mut waiting_since: Option<Instant> = None;
    loop {
        let result = match ControlSocket::claim(operations.home())? {
            Some(control_socket) => forward_local(operations, control_socket, publisher, shutdown)
                .await
                .map(|()| Some(STEP_DOWN_DELAY)),
            None => lease_remote(operations, publisher, shutdown).await,
        };
        publisher.forwarder.send_replace(None);
        if shutdown.is_cancelled() {
            return Ok(());
        }
        interval = match result {
            Ok(Some(wait)) => {
                was_connected = true;
                waiting_since = None;
                wait
            }
            // The new owner of the lock does not respond yet.
            Ok(None)
                if waiting_since.get_or_insert_with(Instant::now).elapsed() > CONNECT_TIMEOUT =>
            {
                return Err(not_responding(operations.home()));
            }
            Ok(None) => (interval * 2).min(RETRY_INTERVALS.1),
            // A session that worked before tolerates a slow forwarder.
            Err(error) if was_connected && error.kind() == ErrorKind::Timeout => RETRY_INTERVALS.1,
            Err(error) => return Err(error),
        };
        tokio::time::sleep(interval).await;
    }
}

fn not_responding(home: &Home) -> Error {
    let message = "the process on the control socket is not responding";
    let lock = home.control_lock().unwrap_or_default();
    Error::new(ErrorKind::Unreachable, message).with_hint(format!(
        "its runtime directory may have been deleted at logout; `fuser {}` shows its pid",
        lock.display()
    ))
}

/// Forwards until shutdown or until the app takes over.
async fn forward_local(
    operations: &Arc<Operations>,
    mut control_socket: ControlSocket,
    publisher: &mut Publisher,
    shutdown: &CancellationToken,
) -> Result<()> {
    let (tasks, connections) = (TaskTracker::new(), TaskTracker::new());
    let (end, end_answers) = (shutdown.child_token(), CancellationToken::new());
    let stop = CancellationToken::new();
    let (watch, forwarding) =
        Forwarding::start(operations, &mut control_socket, &tasks, &stop).await?;
    let host = Headless::new(watch, forwarding.clone(), end.clone());
    let serving = control::serve(
        control_socket,
        Arc::new(host),
        connections.clone(),
        end_answers.clone(),
    );
    let served = tokio::spawn(serving);
    let mut leases = Vec::new();
    for scope in publisher.current_scopes() {
        leases.push(forwarding.lease(scope).await?);
    }
    let mut changes = forwarding.changes();
    publisher
        .forwarder
        .send_replace(Some(Forwarder::Local(forwarding.clone())));
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            changed = changes.changed() => match changed {
                Ok(()) => publisher.publish(changes.borrow_and_update().clone()),
                Err(_) => break,
            },
        }
    }
    let served = async {
        connections.close();
        wait_for_tasks(&connections).await;
        // A panic released the control socket.
        served.await.ok()
    };
    let is_requested = !shutdown.is_cancelled();
    let handover = forwarding
        .hand_over(
            operations.home(),
            leases.len(),
            is_requested,
            end_answers,
            served,
        )
        .await;
    // Free the ports before the lock.
    stop.cancel();
    tasks.close();
    wait_for_tasks(&tasks).await;
    if matches!(handover, Handover::Done) || !shutdown.is_cancelled() {
        publisher
            .handed_over
            .retain(|connections| !connections.is_empty());
        publisher.handed_over.push(forwarding.connections().clone());
    }
    Ok(())
}

async fn wait_for_tasks(tasks: &TaskTracker) {
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("tasks still running after the timeout");
    }
}

/// Takes leases at the forwarder. Returns the delay before the next try, or `None` without a forwarder.
async fn lease_remote(
    operations: &Operations,
    publisher: &mut Publisher,
    shutdown: &CancellationToken,
) -> Result<Option<Duration>> {
    let connected = Client::connect(operations.home(), Role::Cli).await;
    let (client, pushed) = match connected {
        Ok(connected) => connected,
        Err(error) if is_transient(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    for scope in publisher.current_scopes() {
        match client.request(Request::Lease { scope }).await {
            Ok(_) => {}
            Err(error) if is_transient(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    publisher
        .forwarder
        .send_replace(Some(Forwarder::Remote(Arc::new(client))));
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = listen(pushed, publisher) => {}
    }
    Ok(Some(RETRY_INTERVALS.0))
}

/// The forwarder is gone or not ready yet.
fn is_transient(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Io)
}

async fn listen(mut pushed: mpsc::Receiver<Push>, publisher: &mut Publisher) {
    while let Some(pushed) = pushed.recv().await {
        if let Push::Forwards { forwards } = pushed {
            publisher.publish(forwards);
        }
    }
}
