//! Access to services on a guest's loopback: our relay in the guest.
//!
//! The relay is an embedded static program, written into the guest once per boot and started by one
//! exec. It listens at the guest's address for this host only; both sides prove a key. It ends
//! after a minute without connections, with the guest, or with us.
//!
//! One task starts it for all callers; a failure is cached for a while. No owner ends the task:
//! connections outlive the route that dialled them, and the task ends with the relay.
//! Deliberately absent: guests of another architecture or that forbid the program: `Unsupported`.

mod endpoint;
mod start;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::guest::Guest;
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{GuestPort, InstanceName};

use endpoint::{Connection, RelayEndpoint};

/// How long a failed start is cached.
const FAILURE_CACHE_DURATION: Duration = Duration::from_secs(5);
/// How long a relay that refuses connections may take to end.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// An engine's relays: one per instance.
#[derive(Default)]
pub(in crate::backend::lxc) struct Relays(Mutex<HashMap<InstanceName, Arc<Relay>>>);

impl Relays {
    /// The relay of a boot: existing, or not started yet.
    pub(super) fn get(&self, guest: &Arc<Guest>) -> Arc<Relay> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&guest.name) {
            Some(relay) if relay.guest.is_same_boot(guest) => relay.clone(),
            _ => {
                let new = Arc::new(Relay::new(guest.clone()));
                all.insert(guest.name.clone(), new.clone());
                new
            }
        }
    }
}

/// The relay of one boot of an instance.
pub(super) struct Relay {
    guest: Arc<Guest>,
    /// State of the latest task.
    current: Mutex<Option<watch::Receiver<State>>>,
}

#[derive(Clone)]
enum State {
    Starting,
    Open(RelayEndpoint),
    /// Not retried before the given time, if any.
    Failed(Arc<ErrorReport>, Option<Instant>),
    /// Can be started again.
    Ended,
}

impl State {
    fn may_start(&self) -> bool {
        match self {
            Self::Ended => true,
            Self::Failed(_, until) => until.is_some_and(|until| Instant::now() >= until),
            _ => false,
        }
    }
}

impl Relay {
    fn new(guest: Arc<Guest>) -> Self {
        let current = Mutex::default();
        Self { guest, current }
    }

    /// Whether it can be dialled without starting it.
    pub(super) fn is_open(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let state = current.as_ref().map(|state| state.borrow().clone());
        matches!(state, Some(State::Open(_)))
    }

    /// Connects to a port of the guest's loopback; `None` if the port is closed.
    ///
    /// # Errors
    /// `Unsupported` if this guest cannot run it; any other error ends the route.
    pub(super) async fn dial(&self, port: GuestPort) -> Result<Option<TcpStream>> {
        // A relay that has just ended (idle) is restarted once.
        for _ in 0..2 {
            let mut state = self.state();
            let endpoint = wait_until_open(&mut state).await?;
            match endpoint.connect(port, &self.guest).await? {
                Connection::Connected(stream) => return Ok(Some(stream)),
                Connection::Refused => return Ok(None),
                Connection::Closed => {
                    let is_over = |state: &State| !matches!(state, State::Open(_));
                    // If it does not end, the next attempt fails too.
                    let _ = timeout(END_TIMEOUT, state.wait_for(is_over)).await;
                }
            }
        }
        self.guest.ensure_running().await?;
        let message = format!("the relay in `{}` refuses connections", self.guest.name);
        Err(Error::new(ErrorKind::Unreachable, message))
    }

    /// The state of the current task; starts a task if needed.
    fn state(&self) -> watch::Receiver<State> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            Some(state) if !state.borrow().may_start() => state.clone(),
            _ => {
                let (sender, state) = watch::channel(State::Starting);
                tokio::spawn(run(self.guest.clone(), sender));
                current.insert(state).clone()
            }
        }
    }
}

/// Runs a relay to its end.
async fn run(guest: Arc<Guest>, sender: watch::Sender<State>) {
    let end = match start::run(&guest, |endpoint| drop(sender.send(State::Open(endpoint)))).await {
        Ok(()) => State::Ended,
        Err(error) => {
            tracing::debug!(%error, instance = %guest.name, "no relay");
            // What cannot run there is not retried.
            let is_transient = error.kind() != ErrorKind::Unsupported;
            let until = is_transient.then(|| Instant::now() + FAILURE_CACHE_DURATION);
            State::Failed(Arc::new(error.report()), until)
        }
    };
    // There may be no receiver.
    let _ = sender.send(end);
}

/// Waits until the relay is open or has failed.
async fn wait_until_open(state: &mut watch::Receiver<State>) -> Result<RelayEndpoint> {
    let current = state.wait_for(|state| !matches!(state, State::Starting));
    match current.await.map(|state| state.clone()) {
        Ok(State::Open(endpoint)) => Ok(endpoint),
        Ok(State::Failed(why, _)) => Err(Error::from(why.as_ref().clone())),
        Ok(State::Starting | State::Ended) | Err(_) => {
            Err(Error::new(ErrorKind::Unreachable, "the relay has ended"))
        }
    }
}
