//! The holder's side.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Holder;
use super::protocol::{
    Call, Hello, Incoming, MAX_LINE, Outgoing, Reply, Request, Role, encode, lines,
};
use crate::error::{Error, ErrorKind, Result};
use crate::forward::{Forwarding, Lease, Scope};
use crate::view::{Action, ForwardView, ViewEvent};

/// How long the other side may take to say who it is.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a refused accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long the other side may take to read a message. One that hangs loses the connection, and
/// with it the right to be the window.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Replies that may wait for a slow client.
const REPLIES: usize = 64;

/// Leases of one connection: more than any command takes.
const MAX_LEASES: usize = 1024;

/// What the app does when asked.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Who answers.
    fn role(&self) -> Role {
        Role::App
    }
    /// Carries an action out.
    async fn act(&self, action: Action) -> Result<()>;
    /// The view and its changes; `None` when the app ends.
    async fn watch(&self) -> Option<mpsc::Receiver<ViewEvent>>;
    /// Shows the window.
    async fn show_window(&self) -> Result<()>;
    /// Lets another process answer here from now on.
    async fn step_down(&self) -> Result<()> {
        Err(Error::new(ErrorKind::Conflict, "the app runs already"))
    }
    /// The forwards.
    fn forwarding(&self) -> &Forwarding;
    /// The windows that are open.
    fn windows(&self) -> &Windows;
}

/// The window that is connected, if one is.
#[derive(Debug, Default)]
pub struct Windows {
    raise: Mutex<Option<Weak<Notify>>>,
}

impl Windows {
    /// Brings the window to the front; returns whether there is one.
    #[must_use]
    pub fn raise(&self) -> bool {
        let window = self.raise.lock().unwrap_or_else(PoisonError::into_inner);
        match window.as_ref().and_then(Weak::upgrade) {
            Some(window) => {
                window.notify_one();
                true
            }
            None => false,
        }
    }

    /// Makes the caller the window, for as long as it keeps the value; one that is there comes to
    /// the front instead.
    fn join(&self) -> Option<Arc<Notify>> {
        let mut window = self.raise.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = window.as_ref().and_then(Weak::upgrade) {
            known.notify_one();
            return None;
        }
        let new = Arc::new(Notify::new());
        *window = Some(Arc::downgrade(&new));
        Some(new)
    }
}

/// RemoteAnswers until the token is cancelled, and returns the right to it then. What clients have asked for goes on until
/// it is done; `tasks` waits for it.
pub async fn serve(
    holder: Holder,
    host: Arc<dyn Host>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) -> Holder {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return holder,
            accepted = holder.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if same_user(&stream) => {
                let (host, shutdown) = (host.clone(), shutdown.clone());
                let own = tasks.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        ended = converse(stream, host, own) => {
                            if let Err(error) = ended {
                                tracing::debug!(%error, "a control connection ended");
                            }
                        }
                    }
                });
            }
            Ok(_) => tracing::warn!("another user tried the control socket"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

async fn converse(stream: UnixStream, host: Arc<dyn Host>, tasks: TaskTracker) -> Result<()> {
    let (mut incoming, mut outgoing) = lines(stream, MAX_LINE);
    let hello = tokio::time::timeout(HELLO_TIMEOUT, receive::<Hello>(&mut incoming)).await;
    let hello = hello.map_err(|_| Error::new(ErrorKind::Timeout, "no greeting"))??;
    send(&mut outgoing, &Hello::new(host.role())).await?;
    let Some(hello) = hello else { return Ok(()) };
    hello.check()?;
    let (replies, mut ready) = mpsc::channel::<Reply>(REPLIES);
    let mut events: Option<mpsc::Receiver<ViewEvent>> = None;
    let mut raised: Option<Arc<Notify>> = None;
    let mut leases = Leases::default();
    loop {
        tokio::select! {
            call = receive::<Call>(&mut incoming) => {
                let Some(call) = call? else { return Ok(()) };
                match call.request {
                    Request::Watch => {
                        events = host.watch().await;
                        send(&mut outgoing, &Reply::Done { id: call.id }).await?;
                    }
                    Request::BeWindow => {
                        raised = host.windows().join();
                        send(&mut outgoing, &joined(call.id, raised.is_some())).await?;
                    }
                    Request::Lease { scope } => {
                        let taken = leases.take(host.forwarding(), scope).await;
                        let done = taken.map(|()| Reply::Done { id: call.id });
                        let reply = done.unwrap_or_else(|error| failed(call.id, &error));
                        send(&mut outgoing, &reply).await?;
                    }
                    // It goes on when the client leaves: a closed window stops nothing.
                    _ => drop(tasks.spawn(answer(call, host.clone(), replies.clone()))),
                }
            }
            Some(reply) = ready.recv() => send(&mut outgoing, &reply).await?,
            forwards = leases.changed() => send(&mut outgoing, &Reply::Forwarded { forwards }).await?,
            () = next_raise(&mut raised) => send(&mut outgoing, &Reply::Raise).await?,
            event = next(&mut events) => match event {
                Some(event) => send(&mut outgoing, &Reply::Event { event }).await?,
                // It fell behind, or the app ends: the client asks again.
                None => return Ok(()),
            },
        }
    }
}

/// What a connection has forwarded, and what it is told of it.
#[derive(Default)]
struct Leases {
    taken: Vec<Lease>,
    changes: Option<watch::Receiver<Vec<ForwardView>>>,
}

impl Leases {
    async fn take(&mut self, forwarding: &Forwarding, scope: Scope) -> Result<()> {
        if self.taken.len() == MAX_LEASES {
            return Err(Error::new(ErrorKind::Conflict, "too many leases"));
        }
        self.taken.push(forwarding.lease(scope).await?);
        let mut changes = forwarding.changes();
        changes.mark_changed();
        self.changes = Some(changes);
        Ok(())
    }

    /// What is forwarded, when that has changed.
    async fn changed(&mut self) -> Vec<ForwardView> {
        let Some(changes) = &mut self.changes else {
            return std::future::pending().await;
        };
        match changes.changed().await {
            Ok(()) => changes.borrow_and_update().clone(),
            // Forwarding ends, and with it this connection.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn next(events: &mut Option<mpsc::Receiver<ViewEvent>>) -> Option<ViewEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_raise(raised: &mut Option<Arc<Notify>>) {
    match raised {
        Some(raised) => raised.notified().await,
        None => std::future::pending().await,
    }
}

fn failed(id: u64, error: &Error) -> Reply {
    let error = error.report();
    Reply::Failed { id, error }
}

fn joined(id: u64, done: bool) -> Reply {
    if done {
        return Reply::Done { id };
    }
    let error = Error::new(ErrorKind::AlreadyExists, "there is a window already");
    failed(id, &error)
}

async fn answer(call: Call, host: Arc<dyn Host>, replies: mpsc::Sender<Reply>) {
    let id = call.id;
    let forwarding = host.forwarding();
    let done = |()| Reply::Done { id };
    let result = match call.request {
        Request::Act { action } => host.act(action).await.map(done),
        Request::ShowWindow => host.show_window().await.map(done),
        Request::StepDown => host.step_down().await.map(done),
        Request::Release { port } => forwarding.release(port).await.map(done),
        Request::Forwards => {
            let forwards = forwarding.forwards().await;
            forwards.map(|forwards| Reply::Forwards { id, forwards })
        }
        Request::Focus { focus } => {
            let moves = forwarding.focus(focus).await;
            moves.map(|moves| Reply::Moves { id, moves })
        }
        // Those are the connection's own.
        Request::Watch | Request::BeWindow | Request::Lease { .. } => Ok(done(())),
    };
    let reply = result.unwrap_or_else(|error| failed(id, &error));
    // A client that is gone needs no answer.
    let _ = replies.send(reply).await;
}

/// The next line; `None` at the end of the connection.
pub(super) async fn receive<T: serde::de::DeserializeOwned>(
    incoming: &mut Incoming,
) -> Result<Option<T>> {
    let garbled = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Io, format!("a message can't be read: {error}"))
    };
    match incoming.next().await {
        None => Ok(None),
        Some(Err(error)) => Err(garbled(&error)),
        Some(Ok(line)) => serde_json::from_str(&line)
            .map(Some)
            .map_err(|error| garbled(&error)),
    }
}

pub(super) async fn send<T: serde::Serialize>(outgoing: &mut Outgoing, value: &T) -> Result<()> {
    let line = encode(value)?;
    match tokio::time::timeout(SEND_TIMEOUT, outgoing.send(line)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::new(
            ErrorKind::Io,
            format!("the other side is gone: {error}"),
        )),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            "the other side doesn't read",
        )),
    }
}
