//! The client of the control socket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::lock_info;
use super::protocol::{
    Call, HELLO_TIMEOUT, Hello, Incoming, MAX_RESPONSE_BYTES, Message, Push, Request, Response,
    Role, lines, receive, send,
};
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;

/// With more unread events the connection is closed.
const MAX_PENDING_EVENTS: usize = 8192;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any operation.
const ACTION_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Pending requests by id; `None` once the connection has ended.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Response>>>>>>;

/// A connection to the running app.
pub struct Client {
    calls: mpsc::Sender<Call>,
    waiting: Waiting,
    next: AtomicU64,
    role: Role,
}

impl Client {
    /// The role of the server.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Connects, and returns a receiver of pushes that ends with the connection.
    ///
    /// # Errors
    /// `Unreachable` without a server; `Unsupported` for another version; `Timeout`.
    pub async fn connect(home: &Home, role: Role) -> Result<(Self, mpsc::Receiver<Push>)> {
        let path = lock_info::socket_path(home);
        let stream = UnixStream::connect(&path).await.map_err(|error| {
            let message = format!("no process listens on {}", path.display());
            Error::new(ErrorKind::Unreachable, message)
                .with_hint("start the app: `lxc-dev-manager-desktop`")
                .caused_by(error)
        })?;
        let (mut incoming, mut outgoing) = lines(stream, MAX_RESPONSE_BYTES);
        send(&mut outgoing, &Hello::new(role)).await?;
        let hello = tokio::time::timeout(HELLO_TIMEOUT, receive::<Hello>(&mut incoming)).await;
        let hello = hello.map_err(|_| {
            Error::new(ErrorKind::Timeout, "the app is not responding")
                .with_hint("stop it, then start it again: `lxc-dev-manager-desktop`")
        })?;
        let hello = hello?.ok_or_else(disconnected)?;
        hello.check()?;
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let (events, received) = mpsc::channel(MAX_PENDING_EVENTS);
        let (calls, mut to_send) = mpsc::channel::<Call>(16);
        tokio::spawn(read_messages(incoming, events, waiting.clone()));
        // Ends with the client, which has the last sender.
        tokio::spawn(async move {
            while let Some(call) = to_send.recv().await {
                if send(&mut outgoing, &call).await.is_err() {
                    return;
                }
            }
        });
        Ok((
            Self {
                calls,
                waiting,
                next: AtomicU64::new(1),
                role: hello.role,
            },
            received,
        ))
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// The error of the response; `Unreachable` if the connection ends; `Timeout`.
    pub async fn request(&self, request: Request) -> Result<Response> {
        let timeout = if matches!(request, Request::Act { .. }) {
            ACTION_TIMEOUT
        } else {
            RESPONSE_TIMEOUT
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .ok_or_else(disconnected)?
            .insert(id, answer);
        self.calls
            .send(Call { id, request })
            .await
            .map_err(|_| disconnected())?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(answered) => answered.map_err(|_| disconnected())?,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                "the process on the control socket is not responding",
            )),
        }
    }
}

fn disconnected() -> Error {
    Error::new(ErrorKind::Unreachable, "the app closed the connection")
        .with_hint("start it again: `lxc-dev-manager-desktop`")
}

async fn read_messages(mut incoming: Incoming, pushes: mpsc::Sender<Push>, waiting: Waiting) {
    while let Ok(Some(message)) = receive::<Message>(&mut incoming).await {
        let (id, response) = match message {
            Message::Response { id, response } => (id, response),
            Message::Push(push) => match pushes.try_send(push) {
                // A client that only sends requests drops its receiver.
                Ok(()) | Err(TrySendError::Closed(_)) => continue,
                Err(TrySendError::Full(_)) => break,
            },
        };
        let result = match response {
            Response::Failed { error } => Err(error.into()),
            response => Ok(response),
        };
        let caller = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|waiting| waiting.remove(&id));
        if let Some(caller) = caller {
            // Fails only after a timeout of the caller.
            let _ = caller.send(result);
        }
    }
    // Every caller that still waits gets an error.
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
