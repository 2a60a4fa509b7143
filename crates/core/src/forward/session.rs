//! One process that wants ports forwarded: it holds the listeners, or has a lease at who does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::headless::Headless;
use super::renames::Renames;
use super::{DRAIN_TIMEOUT, FocusRequest, Forwarding, Handover, Scope};
use crate::control::{self, Answer, Client, Holder, Pushed, Request, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::model::HostPort;
use crate::operations::Operations;
use crate::view::{FocusMove, ForwardView};

/// How long the app has to take what it has asked for.
const STEPPED_DOWN: Duration = Duration::from_millis(500);
/// How long one that has the lock may not answer: an app takes a while to start.
const UNANSWERED: Duration = Duration::from_secs(30);
/// Pauses between two tries to hold or to join, while another one is just about to hold: long enough that the
/// app, which tries more often, comes first.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// How long what runs may take to end.
const DRAIN: Duration = Duration::from_secs(3);
/// How long a list waits for the one who forwards: one that hangs must hang nobody else.
const BRIEF_TIMEOUT: Duration = Duration::from_millis(50);

/// Where forwards can be asked about.
#[derive(Clone)]
pub enum Forwarder {
    /// In this process.
    Local(Forwarding),
    /// In another.
    Remote(Arc<Client>),
}

impl Forwarder {
    /// A forwarder at who forwards now, without a lease.
    ///
    /// # Errors
    /// `Unreachable` where nobody does.
    pub async fn at_holder(home: &Home) -> Result<Self> {
        let (client, _) = Client::connect(home, Role::Cli).await?;
        Ok(Self::Remote(Arc::new(client)))
    }

    /// See [`Forwarding::forwards`].
    ///
    /// # Errors
    /// `Unreachable` where the holder is gone.
    pub async fn forwards(&self) -> Result<Vec<ForwardView>> {
        match self {
            Self::Local(forwarding) => forwarding.forwards().await,
            Self::Remote(client) => match client.ask(Request::Forwards).await? {
                Answer::Forwards(forwards) => Ok(forwards),
                _ => Err(unexpected()),
            },
        }
    }

    /// See [`Forwarding::focus`].
    ///
    /// # Errors
    /// Those of [`Forwarding::focus`]; `Unreachable` where the holder is gone.
    pub async fn focus(&self, focus: FocusRequest) -> Result<Vec<FocusMove>> {
        match self {
            Self::Local(forwarding) => forwarding.focus(focus).await,
            Self::Remote(client) => match client.ask(Request::Focus { focus }).await? {
                Answer::Moves(moves) => Ok(moves),
                _ => Err(unexpected()),
            },
        }
    }

    /// See [`Forwarding::release`].
    ///
    /// # Errors
    /// Those of [`Forwarding::release`]; `Unreachable` where the holder is gone.
    pub async fn release(&self, port: HostPort) -> Result<()> {
        match self {
            Self::Local(forwarding) => forwarding.release(port).await,
            Self::Remote(client) => client.ask(Request::Release { port }).await.map(drop),
        }
    }
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "an answer to another question")
}

/// What is forwarded now, as far as that can be had at once: nothing where nobody forwards, or where the
/// one who does is slow.
pub async fn list_brief(home: &Home) -> Vec<ForwardView> {
    let asked = async { Forwarder::at_holder(home).await?.forwards().await };
    match tokio::time::timeout(BRIEF_TIMEOUT, asked).await {
        Ok(Ok(forwards)) => forwards,
        _ => Vec::new(),
    }
}

/// A process's part in forwarding, from when it starts until the token is cancelled.
pub struct Session {
    forwarder: watch::Receiver<Option<Forwarder>>,
    told: watch::Receiver<Vec<ForwardView>>,
    scopes: watch::Receiver<Vec<Scope>>,
    left: watch::Receiver<usize>,
}

/// What the running part tells the other.
struct Tellers {
    forwarder: watch::Sender<Option<Forwarder>>,
    told: watch::Sender<Vec<ForwardView>>,
    scopes: watch::Sender<Vec<Scope>>,
    /// How many connections are waited for at the end.
    left: watch::Sender<usize>,
    renames: Renames,
    /// Connections of the times at which this process has forwarded and then another one took over.
    passed_on: Vec<TaskTracker>,
}

impl Session {
    /// Wants these forwarded. The future runs until the token is cancelled, and takes over when who
    /// forwards goes.
    ///
    /// # Errors
    /// Of the future: `Unsupported` where another version of this program forwards, `Timeout` where the one
    /// who does hangs, `Io` where our own state can't be used.
    pub fn new(
        operations: Arc<Operations>,
        scopes: Vec<Scope>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = Result<()>> + Send) {
        let (forwarder, forwarders) = watch::channel(None);
        let (told, tells) = watch::channel(Vec::new());
        let (scopes, wanted) = watch::channel(scopes);
        let (left, waited_for) = watch::channel(0);
        let session = Self {
            forwarder: forwarders,
            told: tells,
            scopes: wanted,
            left: waited_for,
        };
        let renames = Renames::read(operations.home());
        let running = async move {
            let renames = renames?;
            let tellers = Tellers {
                forwarder,
                told,
                scopes,
                left,
                renames,
                passed_on: Vec::new(),
            };
            run(operations, tellers, shutdown).await
        };
        (session, running)
    }

    /// Where this process sits now; waits while that is being decided.
    ///
    /// # Errors
    /// `Unreachable` where the session has ended.
    pub async fn forwarder(&self) -> Result<Forwarder> {
        let mut forwarder = self.forwarder.clone();
        let found = forwarder.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|forwarder| forwarder.clone());
        found.ok_or_else(|| Error::new(ErrorKind::Unreachable, "forwarding has ended"))
    }

    /// Where this process sits, told at each change; `None` while that is being decided.
    #[must_use]
    pub fn forwarders(&self) -> watch::Receiver<Option<Forwarder>> {
        self.forwarder.clone()
    }

    /// What is forwarded, told at each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Vec<ForwardView>> {
        self.told.clone()
    }

    /// How many connections are waited for, once the token is cancelled: another process forwards, and those that
    /// came by this one may end by themselves for a while. Who has no timeout drops the future.
    #[must_use]
    pub fn left(&self) -> watch::Receiver<usize> {
        self.left.clone()
    }

    /// What this process wants forwarded: an env that gets another name is wanted by that.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        self.scopes.borrow().clone()
    }
}

impl Tellers {
    /// What is wanted, by the names of now.
    fn wanted(&mut self) -> Vec<Scope> {
        match self.renames.fresh() {
            Ok(renames) if !renames.is_empty() => {
                let follow = |scope: &mut Scope| scope.follow(&renames);
                self.scopes
                    .send_modify(|scopes| scopes.iter_mut().for_each(follow));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(?error, "renames aren't followed"),
        }
        self.scopes.borrow().clone()
    }

    /// Waits for the connections that came while this process forwarded, if another one does now: for a while.
    async fn drain(&self) {
        let end = tokio::time::Instant::now() + DRAIN_TIMEOUT;
        for connections in &self.passed_on {
            connections.close();
            self.left.send_replace(connections.len());
            if tokio::time::timeout_at(end, connections.wait())
                .await
                .is_err()
            {
                tracing::warn!(left = connections.len(), "connections are cut");
            }
        }
    }

    /// Tells what is forwarded, once it is known who is meant by it.
    fn tell(&mut self, forwards: Vec<ForwardView>) {
        self.wanted();
        self.told.send_replace(forwards);
    }
}

async fn run(
    operations: Arc<Operations>,
    mut tellers: Tellers,
    shutdown: CancellationToken,
) -> Result<()> {
    let sat = sit(&operations, &mut tellers, &shutdown).await;
    tellers.drain().await;
    sat
}

/// Holds or has leases, in turn, until the end.
async fn sit(
    operations: &Arc<Operations>,
    tellers: &mut Tellers,
    shutdown: &CancellationToken,
) -> Result<()> {
    let mut pause = PAUSES.0;
    let mut had_a_seat = false;
    let mut unanswered: Option<Instant> = None;
    loop {
        let sat = match Holder::claim(operations.home())? {
            Some(holder) => hold(operations, holder, tellers, shutdown)
                .await
                .map(|()| Some(STEPPED_DOWN)),
            None => join(operations, tellers, shutdown).await,
        };
        tellers.forwarder.send_replace(None);
        if shutdown.is_cancelled() {
            return Ok(());
        }
        pause = match sat {
            Ok(Some(wait)) => {
                had_a_seat = true;
                unanswered = None;
                wait
            }
            // Who just took the lock doesn't answer yet.
            Ok(None) if unanswered.get_or_insert_with(Instant::now).elapsed() > UNANSWERED => {
                return Err(nobody_answers(operations.home()));
            }
            Ok(None) => (pause * 2).min(PAUSES.1),
            // Who has forwarded until now waits for the one that takes its time.
            Err(error) if had_a_seat && error.kind() == ErrorKind::Timeout => PAUSES.1,
            Err(error) => return Err(error),
        };
        tokio::time::sleep(pause).await;
    }
}

fn nobody_answers(home: &Home) -> Error {
    let message = "another process forwards for this home, and can't be asked";
    let lock = home.control_lock().unwrap_or_default();
    Error::new(ErrorKind::Unreachable, message).with_hint(format!(
        "its place for sockets may have gone with a session: `fuser {}` tells its pid",
        lock.display()
    ))
}

/// Forwards for everybody, until the end or until the app asks for it.
async fn hold(
    operations: &Arc<Operations>,
    mut holder: Holder,
    tellers: &mut Tellers,
    shutdown: &CancellationToken,
) -> Result<()> {
    let (tasks, answering) = (TaskTracker::new(), TaskTracker::new());
    let (end, end_answers) = (shutdown.child_token(), CancellationToken::new());
    let stop = CancellationToken::new();
    let (watch, forwarding) = Forwarding::take_up(operations, &mut holder, &tasks, &stop).await?;
    let host = Headless::new(watch, forwarding.clone(), end.clone());
    let serving = control::serve(
        holder,
        Arc::new(host),
        answering.clone(),
        end_answers.clone(),
    );
    let served = tokio::spawn(serving);
    let mut leases = Vec::new();
    for scope in tellers.wanted() {
        leases.push(forwarding.lease(scope).await?);
    }
    let mut changes = forwarding.changes();
    tellers
        .forwarder
        .send_replace(Some(Forwarder::Local(forwarding.clone())));
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            changed = changes.changed() => match changed {
                Ok(()) => tellers.tell(changes.borrow_and_update().clone()),
                Err(_) => break,
            },
        }
    }
    let served = async {
        answering.close();
        drained(&answering).await;
        // A panic has given it back.
        served.await.ok()
    };
    let whose = (leases.len(), !shutdown.is_cancelled());
    let passed = forwarding
        .pass_on(operations.home(), whose, end_answers, served)
        .await;
    // Where nobody has them, the ports are free before the lock is.
    stop.cancel();
    tasks.close();
    drained(&tasks).await;
    if matches!(passed, Handover::Over) || !shutdown.is_cancelled() {
        tellers
            .passed_on
            .retain(|connections| !connections.is_empty());
        tellers.passed_on.push(forwarding.connections().clone());
    }
    Ok(())
}

async fn drained(tasks: &TaskTracker) {
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("what was begun still runs");
    }
}

/// Has leases at who forwards. Returns how long to wait then; `None` where there was nobody.
async fn join(
    operations: &Operations,
    tellers: &mut Tellers,
    shutdown: &CancellationToken,
) -> Result<Option<Duration>> {
    let connected = Client::connect(operations.home(), Role::Cli).await;
    let (client, pushed) = match connected {
        Ok(connected) => connected,
        Err(error) if passes(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    for scope in tellers.wanted() {
        match client.ask(Request::Lease { scope }).await {
            Ok(_) => {}
            Err(error) if passes(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    tellers
        .forwarder
        .send_replace(Some(Forwarder::Remote(Arc::new(client))));
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = listen(pushed, tellers) => {}
    }
    Ok(Some(PAUSES.0))
}

/// The one who forwards went away, or isn't there yet.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Io)
}

async fn listen(mut pushed: mpsc::Receiver<Pushed>, tellers: &mut Tellers) {
    while let Some(pushed) = pushed.recv().await {
        if let Pushed::Forwards(forwards) = pushed {
            tellers.tell(forwards);
        }
    }
}
