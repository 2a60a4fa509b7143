//! The server of the control socket.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ControlSocket;
use super::protocol::{
    Call, HELLO_TIMEOUT, Hello, MAX_LINE_BYTES, Message, Push, Request, Response, Role, lines,
    receive, send,
};
use crate::error::{Error, ErrorKind, Result};
use crate::forward::{Forwarding, Lease, Scope};
use crate::view::{Action, ForwardView, ViewEvent};
use crate::watch::{Subscription, Watch};

const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

const MAX_PENDING_RESPONSES: usize = 64;

/// More leases than any command uses.
const MAX_LEASES: usize = 1024;

/// The process behind the control socket.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// The kind of this process.
    fn role(&self) -> Role {
        Role::App
    }
    /// Carries out an action.
    async fn act(&self, action: Action) -> Result<()>;
    /// Records the user's consent to these parts of a project's file.
    ///
    /// # Errors
    /// `Unsupported` without a window.
    fn trust(&self, _path: &str, _parts: &[String]) -> Result<()> {
        let message = "consent is given in the app, or by `lxc-dev-manager trust`";
        Err(Error::new(ErrorKind::Unsupported, message))
    }
    /// The view and its changes.
    fn watch(&self) -> &Watch;
    /// Shows the window.
    ///
    /// # Errors
    /// `Unsupported` without one.
    async fn show_window(&self) -> Result<()>;
    /// Releases the control socket to another process.
    async fn step_down(&self) -> Result<()> {
        Err(Error::new(
            ErrorKind::Conflict,
            "the app is already running",
        ))
    }
    /// The forwards of this process.
    fn forwarding(&self) -> &Forwarding;
    /// The open windows.
    fn windows(&self) -> &Windows;
}

/// The connected window, if any.
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

    /// Registers a window until the value is dropped. An existing one comes to the front instead.
    fn register(&self) -> Option<Arc<Notify>> {
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

/// Serves connections until the token is cancelled, then returns the socket. Requests run to their end;
/// `tasks` waits for them.
pub async fn serve(
    socket: ControlSocket,
    host: Arc<dyn Host>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) -> ControlSocket {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return socket,
            accepted = socket.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if same_user(&stream) => {
                let (host, shutdown) = (host.clone(), shutdown.clone());
                let own = tasks.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        ended = serve_connection(stream, host, own) => {
                            if let Err(error) = ended {
                                tracing::debug!(%error, "a control connection ended");
                            }
                        }
                    }
                });
            }
            Ok(_) => tracing::warn!("rejected a connection of another user"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

fn same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

async fn serve_connection(
    stream: UnixStream,
    host: Arc<dyn Host>,
    tasks: TaskTracker,
) -> Result<()> {
    let (mut incoming, mut outgoing) = lines(stream, MAX_LINE_BYTES);
    let hello = tokio::time::timeout(HELLO_TIMEOUT, receive::<Hello>(&mut incoming)).await;
    let hello = hello.map_err(|_| Error::new(ErrorKind::Timeout, "no hello message"))??;
    send(&mut outgoing, &Hello::new(host.role())).await?;
    let Some(hello) = hello else { return Ok(()) };
    hello.check()?;
    let (responses, mut ready) = mpsc::channel::<Message>(MAX_PENDING_RESPONSES);
    let mut view: Option<Subscription> = None;
    let mut raised: Option<Arc<Notify>> = None;
    let mut leases = Leases::default();
    loop {
        let push = tokio::select! {
            call = receive::<Call>(&mut incoming) => {
                let Some(Call { id, request }) = call? else { return Ok(()) };
                let done = match request {
                    Request::Watch => {
                        view = Some(host.watch().subscribe());
                        Ok(())
                    }
                    Request::BeWindow => {
                        raised = host.windows().register();
                        raised.as_ref().map(drop).ok_or_else(window_exists)
                    }
                    Request::Lease { scope } => leases.add(host.forwarding(), scope).await,
                    // Outlives the connection: a closed window cancels nothing.
                    request => {
                        tasks.spawn(respond(id, request, host.clone(), responses.clone()));
                        continue;
                    }
                };
                let response = response(done.map(|()| Response::Done));
                send(&mut outgoing, &Message::Response { id, response }).await?;
                continue;
            }
            Some(message) = ready.recv() => {
                send(&mut outgoing, &message).await?;
                continue;
            }
            forwards = leases.changed() => Push::Forwards { forwards },
            () = next_raise(&mut raised) => Push::Raise,
            events = next_events(&mut view) => {
                let Some(events) = events else { return Ok(()) };
                for event in events {
                    send(&mut outgoing, &Message::Push(Push::Event { event })).await?;
                }
                continue;
            }
        };
        send(&mut outgoing, &Message::Push(push)).await?;
    }
}

/// The leases of a connection.
#[derive(Default)]
struct Leases {
    leases: Vec<Lease>,
    changes: Option<watch::Receiver<Vec<ForwardView>>>,
}

impl Leases {
    async fn add(&mut self, forwarding: &Forwarding, scope: Scope) -> Result<()> {
        if self.leases.len() == MAX_LEASES {
            return Err(Error::new(ErrorKind::Conflict, "too many leases"));
        }
        self.leases.push(forwarding.lease(scope).await?);
        let mut changes = forwarding.changes();
        changes.mark_changed();
        self.changes = Some(changes);
        Ok(())
    }

    /// Waits for a change of the forwards.
    async fn changed(&mut self) -> Vec<ForwardView> {
        let Some(changes) = &mut self.changes else {
            return std::future::pending().await;
        };
        match changes.changed().await {
            Ok(()) => changes.borrow_and_update().clone(),
            // Forwarding has ended, and this connection will.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn next_events(view: &mut Option<Subscription>) -> Option<Vec<ViewEvent>> {
    match view {
        Some(view) => view.next().await,
        None => std::future::pending().await,
    }
}

async fn next_raise(raised: &mut Option<Arc<Notify>>) {
    match raised {
        Some(raised) => raised.notified().await,
        None => std::future::pending().await,
    }
}

fn response(result: Result<Response>) -> Response {
    result.unwrap_or_else(|error| Response::Failed {
        error: error.report(),
    })
}

fn window_exists() -> Error {
    Error::new(ErrorKind::AlreadyExists, "the window is already open")
}

async fn respond(id: u64, request: Request, host: Arc<dyn Host>, responses: mpsc::Sender<Message>) {
    let forwarding = host.forwarding();
    let done = |()| Response::Done;
    let result = match request {
        Request::Act { action } => host.act(action).await.map(done),
        Request::Trust { path, parts } => host.trust(&path, &parts).map(done),
        Request::ShowWindow => host.show_window().await.map(done),
        Request::StepDown => host.step_down().await.map(done),
        Request::Release { port } => forwarding.release(port).await.map(done),
        Request::Forwards => {
            let forwards = forwarding.forwards().await;
            forwards.map(|forwards| Response::Forwards { forwards })
        }
        Request::Focus { focus } => {
            let moves = forwarding.focus(focus).await;
            moves.map(|moves| Response::Moves { moves })
        }
        // The connection handles these itself.
        Request::Watch | Request::BeWindow | Request::Lease { .. } => Ok(Response::Done),
    };
    let response = response(result);
    // Fails only if the client has disconnected.
    let _ = responses.send(Message::Response { id, response }).await;
}
