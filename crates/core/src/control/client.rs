//! The client's side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::lock_info;
use super::protocol::{Call, Hello, Incoming, MAX_REPLY, Reply, Request, Role, lines};
use super::server::{HELLO_TIMEOUT, receive, send};
use crate::error::{Error, ErrorKind, Result};
use crate::home::Home;
use crate::view::{FocusMove, ForwardView, ViewEvent};

/// Events that may wait for a slow reader; more make the client lose the connection.
const EVENTS: usize = 8192;

/// How long work may take: longer than any operation does.
const WORK_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Those who wait for an answer; `None` once the connection has ended and nobody can.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Answer>>>>>>;

/// What the app says unasked.
#[derive(Debug, Clone, PartialEq)]
pub enum Pushed {
    /// The view changed.
    Event(ViewEvent),
    /// The window shall come to the front.
    Raise,
    /// What is forwarded has changed.
    Forwards(Vec<ForwardView>),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It was done.
    Done,
    /// What is forwarded.
    Forwards(Vec<ForwardView>),
    /// What a change of focus did.
    Moves(Vec<FocusMove>),
}

/// A connection to the running app.
pub struct Client {
    calls: mpsc::Sender<Call>,
    waiting: Waiting,
    next: AtomicU64,
    holder: Role,
}

impl Client {
    /// Who answers here.
    #[must_use]
    pub fn holder(&self) -> Role {
        self.holder
    }

    /// Connects and greets. The events of [`Request::Watch`] come by the second value, which ends
    /// with the connection.
    ///
    /// # Errors
    /// `Unreachable` where no app runs, `Unsupported` where it is another version.
    pub async fn connect(home: &Home, role: Role) -> Result<(Self, mpsc::Receiver<Pushed>)> {
        let path = lock_info::socket(home);
        let stream = UnixStream::connect(&path).await.map_err(|error| {
            let message = format!("no app answers on {}", path.display());
            Error::new(ErrorKind::Unreachable, message)
                .with_hint("start it: lxc-dev-manager-desktop")
                .caused_by(error)
        })?;
        let (mut incoming, mut outgoing) = lines(stream, MAX_REPLY);
        send(&mut outgoing, &Hello::new(role)).await?;
        let hello = tokio::time::timeout(HELLO_TIMEOUT, receive::<Hello>(&mut incoming)).await;
        let hello = hello.map_err(|_| {
            Error::new(ErrorKind::Timeout, "the app doesn't answer")
                .with_hint("end it, and start it again: lxc-dev-manager-desktop")
        })?;
        let hello = hello?.ok_or_else(gone)?;
        hello.check()?;
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let (events, received) = mpsc::channel(EVENTS);
        let (calls, mut to_send) = mpsc::channel::<Call>(16);
        tokio::spawn(listen(incoming, events, waiting.clone()));
        // Ends with the client: its last sender is in there.
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
                holder: hello.role,
            },
            received,
        ))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the app answered, or `Unreachable` where it went away.
    pub async fn ask(&self, request: Request) -> Result<Answer> {
        let is_question = !matches!(request, Request::Act { .. });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .ok_or_else(gone)?
            .insert(id, answer);
        self.calls
            .send(Call { id, request })
            .await
            .map_err(|_| gone())?;
        // What is done may take as long as it takes; a question is answered at once, or by nobody.
        let timeout = match is_question {
            true => HELLO_TIMEOUT,
            false => WORK_TIMEOUT,
        };
        match tokio::time::timeout(timeout, answered).await {
            Ok(answered) => answered.map_err(|_| gone())?,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                "who answers on the control socket hangs",
            )),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unreachable, "the app went away")
        .with_hint("start it again: lxc-dev-manager-desktop")
}

async fn listen(mut incoming: Incoming, events: mpsc::Sender<Pushed>, waiting: Waiting) {
    while let Ok(Some(reply)) = receive::<Reply>(&mut incoming).await {
        let (id, result) = match reply {
            Reply::Event { event } => match events.try_send(Pushed::Event(event)) {
                Ok(()) => continue,
                Err(_) => break,
            },
            Reply::Raise => match events.try_send(Pushed::Raise) {
                Ok(()) => continue,
                Err(_) => break,
            },
            Reply::Forwarded { forwards } => match events.try_send(Pushed::Forwards(forwards)) {
                // Whoever asks once and goes doesn't listen.
                Ok(()) | Err(TrySendError::Closed(_)) => continue,
                Err(_) => break,
            },
            Reply::Done { id } => (id, Ok(Answer::Done)),
            Reply::Forwards { id, forwards } => (id, Ok(Answer::Forwards(forwards))),
            Reply::Moves { id, moves } => (id, Ok(Answer::Moves(moves))),
            Reply::Failed { id, error } => (id, Err(error.into())),
        };
        let asker = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|waiting| waiting.remove(&id));
        if let Some(asker) = asker {
            // One that no longer waits needs no answer.
            let _ = asker.send(result);
        }
    }
    // Everyone who still waits learns that the app is gone.
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
