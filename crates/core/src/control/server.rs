//! The holder's side.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Holder;
use super::protocol::{
    Call, Hello, Incoming, MAX_LINE, Outgoing, Reply, Request, Role, encode, lines,
};
use crate::error::{Error, ErrorKind, Result};
use crate::view::{Action, ViewEvent};

/// How long the other side may take to say who it is.
pub(super) const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a refused accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How long the other side may take to read a message. One that hangs loses the connection, and
/// with it the right to be the window.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// Replies that may wait for a slow client.
const REPLIES: usize = 64;

/// What the app does when asked.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Carries an action out.
    async fn act(&self, action: Action) -> Result<()>;
    /// The view and its changes; `None` when the app ends.
    async fn watch(&self) -> Option<mpsc::Receiver<ViewEvent>>;
    /// Shows the window.
    async fn show_window(&self) -> Result<()>;
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

/// Answers until the token is cancelled. What clients have asked for goes on until it is done;
/// `tasks` waits for it.
pub async fn serve(
    holder: Holder,
    host: Arc<dyn Host>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
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
    let hello = tokio::time::timeout(HELLO_PATIENCE, receive::<Hello>(&mut incoming)).await;
    let hello = hello.map_err(|_| Error::new(ErrorKind::Timeout, "no greeting"))??;
    send(&mut outgoing, &Hello::new(Role::App)).await?;
    let Some(hello) = hello else { return Ok(()) };
    hello.check()?;
    let (replies, mut ready) = mpsc::channel::<Reply>(REPLIES);
    let mut events: Option<mpsc::Receiver<ViewEvent>> = None;
    let mut raised: Option<Arc<Notify>> = None;
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
                    // It goes on when the client leaves: a closed window stops nothing.
                    _ => drop(tasks.spawn(answer(call, host.clone(), replies.clone()))),
                }
            }
            Some(reply) = ready.recv() => send(&mut outgoing, &reply).await?,
            () = next_raise(&mut raised) => send(&mut outgoing, &Reply::Raise).await?,
            event = next(&mut events) => match event {
                Some(event) => send(&mut outgoing, &Reply::Event { event }).await?,
                // It fell behind, or the app ends: the client asks again.
                None => return Ok(()),
            },
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

fn joined(id: u64, done: bool) -> Reply {
    if done {
        return Reply::Done { id };
    }
    let error = Error::new(ErrorKind::AlreadyExists, "there is a window already").report();
    Reply::Failed { id, error }
}

async fn answer(call: Call, host: Arc<dyn Host>, replies: mpsc::Sender<Reply>) {
    let id = call.id;
    let result = match call.request {
        Request::Act { action } => host.act(action).await,
        Request::ShowWindow => host.show_window().await,
        Request::Watch | Request::BeWindow => Ok(()),
    };
    let reply = match result {
        Ok(()) => Reply::Done { id },
        Err(error) => Reply::Failed {
            id,
            error: error.report(),
        },
    };
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
    match tokio::time::timeout(SEND_PATIENCE, outgoing.send(line)).await {
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
