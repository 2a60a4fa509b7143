//! The holder's side.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Holder;
use super::protocol::{Call, Hello, Incoming, Outgoing, Reply, Request, Role, encode, lines};
use crate::error::{Error, ErrorKind, Result};
use crate::view::{Action, ViewEvent};

/// How long a client may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a refused accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
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

/// The windows that are connected.
#[derive(Debug)]
pub struct Windows {
    raise: broadcast::Sender<()>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            raise: broadcast::channel(4).0,
        }
    }
}

impl Windows {
    /// Brings them to the front; returns whether there is one.
    #[must_use]
    pub fn raise(&self) -> bool {
        self.raise.send(()).is_ok()
    }
}

/// Answers until the token is cancelled.
pub async fn serve(holder: Holder, host: Arc<dyn Host>, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = holder.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if same_user(&stream) => {
                let (host, shutdown) = (host.clone(), shutdown.clone());
                let tasks = connections.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        ended = converse(stream, host, tasks) => {
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
    connections.close();
}

fn same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

async fn converse(stream: UnixStream, host: Arc<dyn Host>, tasks: TaskTracker) -> Result<()> {
    let (mut incoming, mut outgoing) = lines(stream);
    let hello = tokio::time::timeout(HELLO_PATIENCE, receive::<Hello>(&mut incoming)).await;
    let hello = hello.map_err(|_| Error::new(ErrorKind::Timeout, "no greeting"))??;
    send(&mut outgoing, &Hello::new(Role::App)).await?;
    let Some(hello) = hello else { return Ok(()) };
    hello.check()?;
    let (replies, mut ready) = mpsc::channel::<Reply>(REPLIES);
    let mut events: Option<mpsc::Receiver<ViewEvent>> = None;
    let mut raised = (hello.role == Role::Window).then(|| host.windows().raise.subscribe());
    loop {
        tokio::select! {
            call = receive::<Call>(&mut incoming) => {
                let Some(call) = call? else { return Ok(()) };
                if call.request == Request::Watch {
                    events = host.watch().await;
                    send(&mut outgoing, &Reply::Done { id: call.id }).await?;
                } else {
                    // It goes on when the client leaves: a closed window stops nothing.
                    tasks.spawn(answer(call, host.clone(), replies.clone()));
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

async fn next_raise(raised: &mut Option<broadcast::Receiver<()>>) {
    match raised {
        // One raise for several that were missed will do; the sender lives as long as the host.
        Some(raised) => drop(raised.recv().await),
        None => std::future::pending().await,
    }
}

async fn answer(call: Call, host: Arc<dyn Host>, replies: mpsc::Sender<Reply>) {
    let id = call.id;
    let result = match call.request {
        Request::Act { action } => host.act(action).await,
        Request::ShowWindow => host.show_window().await,
        Request::Watch => Ok(()),
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
    outgoing
        .send(line)
        .await
        .map_err(|error| Error::new(ErrorKind::Io, format!("the other side is gone: {error}")))
}
