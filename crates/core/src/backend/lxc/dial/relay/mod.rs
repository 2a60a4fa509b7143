//! The way to services on a guest's own loopback: a relay of ours that runs in the guest.
//!
//! It is a static program, embedded here, put into the guest once a boot and started by one exec. It
//! listens at the guest's address for this host alone. Both sides show a key, so that neither talks to
//! a stranger: whoever has got the address in the meantime can't answer. It ends by itself when nobody
//! has come for a minute, with the guest, and with us.
//!
//! One task starts it for all who wait, and a failure is remembered for a while. The task has no owner
//! that ends it: connections through a relay outlive the route that dialled them, and it ends with the
//! relay.
//! Deliberately absent: guests of another architecture, and what a guest forbids to run. There the
//! answer is `Unsupported`, and the caller knows another way.

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

use endpoint::{Entered, RelayEndpoint};

/// How long a failed start is remembered.
const MEMORY: Duration = Duration::from_secs(5);
/// How long a relay that lets nobody in may take to end.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// The relays of an engine's instances, one an instance.
#[derive(Default)]
pub(in crate::backend::lxc) struct Relays(Mutex<HashMap<InstanceName, Arc<Relay>>>);

impl Relays {
    /// The relay of a boot: the one that is there, or one that isn't started yet.
    pub(super) fn of(&self, guest: &Arc<Guest>) -> Arc<Relay> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&guest.name) {
            Some(known) if known.guest.is(guest) => known.clone(),
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
    /// What the last task that started it says.
    current: Mutex<Option<watch::Receiver<State>>>,
}

/// How far a relay has come.
#[derive(Clone)]
enum State {
    Starting,
    Open(RelayEndpoint),
    /// It is over, and until then it won't be tried again.
    Failed(Arc<ErrorReport>, Option<Instant>),
    /// It is over, and can be started anew.
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

    /// Whether it can be asked at once.
    pub(super) fn is_open(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let state = current.as_ref().map(|state| state.borrow().clone());
        matches!(state, Some(State::Open(_)))
    }

    /// Connects to a port of the guest's loopback; `None` where nobody listens.
    ///
    /// # Errors
    /// `Unsupported` where it can't be run in this guest; else those that end a route.
    pub(super) async fn dial(&self, port: GuestPort) -> Result<Option<TcpStream>> {
        // One that has just ended, for want of visitors, is started once more.
        for _ in 0..2 {
            let mut state = self.state();
            let endpoint = opened(&mut state).await?;
            match endpoint.enter(port, &self.guest).await? {
                Entered::Connected(stream) => return Ok(Some(stream)),
                Entered::Refused => return Ok(None),
                Entered::Closed => {
                    let over = |state: &State| !matches!(state, State::Open(_));
                    // Where it doesn't end, the next attempt tells.
                    let _ = timeout(END_TIMEOUT, state.wait_for(over)).await;
                }
            }
        }
        self.guest.expect_present().await?;
        let message = format!("nothing gets through to `{}`", self.guest.name);
        Err(Error::new(ErrorKind::Unreachable, message))
    }

    /// What the task says that starts it, and such a task where there is none.
    fn state(&self) -> watch::Receiver<State> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            Some(state) if !state.borrow().may_start() => state.clone(),
            _ => {
                let (tell, state) = watch::channel(State::Starting);
                tokio::spawn(keep(self.guest.clone(), tell));
                current.insert(state).clone()
            }
        }
    }
}

/// Starts a relay and stays with it to its end.
async fn keep(guest: Arc<Guest>, tell: watch::Sender<State>) {
    let over = match start::run(&guest, |endpoint| drop(tell.send(State::Open(endpoint)))).await {
        Ok(()) => State::Ended,
        Err(error) => {
            tracing::debug!(%error, instance = %guest.name, "no relay");
            // What can't be run there can't be run later either.
            let again = error.kind() != ErrorKind::Unsupported;
            let until = again.then(|| Instant::now() + MEMORY);
            State::Failed(Arc::new(error.report()), until)
        }
    };
    // Nobody may be waiting.
    let _ = tell.send(over);
}

/// Waits until it is open or over.
async fn opened(state: &mut watch::Receiver<State>) -> Result<RelayEndpoint> {
    let known = state.wait_for(|state| !matches!(state, State::Starting));
    match known.await.map(|state| state.clone()) {
        Ok(State::Open(endpoint)) => Ok(endpoint),
        Ok(State::Failed(why, _)) => Err(Error::from(why.as_ref().clone())),
        Ok(State::Starting | State::Ended) | Err(_) => {
            Err(Error::new(ErrorKind::Unreachable, "the relay has ended"))
        }
    }
}
