//! The listeners that there are, and those that should be.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handover::Inherited;
use crate::error::{ErrorKind, ErrorReport};
use crate::model::{HostPort, PortState, Reach};
use crate::proxy::{Listeners, Listening, Routes, Shared, Table, bind_with, serve};

/// How often it is looked whether a port that a stranger has is free.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// How long it must have been free before we take it: a server that restarts gets it back.
const FREE: Duration = Duration::from_secs(10);

/// What a port should be.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) reach: Reach,
    /// For connections from this machine.
    pub(super) inside: Table,
    /// For those from elsewhere.
    pub(super) outside: Table,
}

/// The listeners of this process.
pub(super) struct Ports {
    open: BTreeMap<HostPort, Port>,
    /// Those of the one who forwarded before that nobody has asked for yet.
    inherited: Inherited,
    shared: Shared,
    tasks: TaskTracker,
    finder: mpsc::UnboundedSender<Found>,
    /// What was found out beside, for [`Ports::take`].
    pub(super) found: mpsc::UnboundedReceiver<Found>,
    /// Somebody looks whether ports are free.
    looking: bool,
}

struct Port {
    reach: Reach,
    routes: Arc<Routes>,
    state: State,
}

enum State {
    Listening {
        listeners: Arc<Listeners>,
        end: CancellationToken,
        served: JoinHandle<()>,
    },
    /// Somebody else has it, or we may not.
    Refused {
        /// Why; `None` while that is being found out.
        error: Option<ErrorReport>,
        /// Since when nobody has it; `None` while somebody does.
        free_since: Option<Instant>,
    },
}

/// Something that takes a while to find out.
pub(super) enum Found {
    /// Why a port can't be had.
    Why(HostPort, Reach, ErrorReport),
    /// Which of those that somebody had are free.
    Free(Vec<(HostPort, bool)>),
}

impl Ports {
    pub(super) fn new(tasks: TaskTracker, shared: Shared, inherited: Inherited) -> Self {
        let (finder, found) = mpsc::unbounded_channel();
        Self {
            open: BTreeMap::new(),
            inherited,
            shared,
            tasks,
            finder,
            found,
            looking: false,
        }
    }

    /// Opens what is missing, closes what nobody wants, and sets who is reached.
    pub(super) async fn set(&mut self, wanted: BTreeMap<HostPort, Wanted>) {
        let keep = |port: &HostPort, open: &Port| {
            let wanted = wanted.get(port);
            wanted.is_some_and(|wanted| wanted.reach == open.reach)
        };
        let (kept, ended): (BTreeMap<_, _>, _) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(port, open)| keep(port, open));
        self.open = kept;
        let mut closing = Vec::new();
        for port in BTreeMap::into_values(ended) {
            if let State::Listening { end, served, .. } = port.state {
                end.cancel();
                closing.push(served);
            }
        }
        // All are told before any is waited for: who gives up waiting leaves none open. The sockets have to be closed
        // before the same port can be bound in another way. A panic in there has closed them as well.
        futures_util::future::join_all(closing).await;
        for (port, wanted) in wanted {
            let Wanted {
                reach,
                inside,
                outside,
            } = wanted;
            if !self.open.contains_key(&port) {
                let routes = Arc::<Routes>::default();
                let state = self.listen(port, reach, &routes).unwrap_or(State::Refused {
                    error: None,
                    free_since: None,
                });
                let opened = Port {
                    reach,
                    routes,
                    state,
                };
                self.open.insert(port, opened);
            }
            if let Some(open) = self.open.get(&port) {
                open.routes.set(inside, outside);
            }
        }
    }

    /// Listens; `None` where that can't be: why is found out beside.
    fn listen(&mut self, port: HostPort, reach: Reach, routes: &Arc<Routes>) -> Option<State> {
        let inherited = &mut self.inherited;
        match bind_with(port, reach, &mut |address| inherited.take(address)) {
            Ok(listeners) => {
                let listeners = Arc::new(listeners);
                let end = CancellationToken::new();
                let shared = self.shared.clone();
                let serving = serve(listeners.clone(), routes.clone(), shared, end.clone());
                let served = self.tasks.spawn(serving);
                Some(State::Listening {
                    listeners,
                    end,
                    served,
                })
            }
            Err(refused) => {
                let finder = self.finder.clone();
                self.tasks.spawn_blocking(move || {
                    let why = refused.explain().report();
                    // With the end of the forwards nobody wants to know.
                    let _ = finder.send(Found::Why(port, reach, why));
                });
                None
            }
        }
    }

    /// Looks whether those that couldn't be had can be by now.
    pub(super) fn look_again(&mut self) {
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        for (number, port) in &self.open {
            let State::Refused {
                error: Some(error), ..
            } = &port.state
            else {
                continue;
            };
            match error.kind {
                ErrorKind::Conflict => taken.push((*number, port.reach)),
                // A right that is given, or an address that comes back, gives no event.
                _ => others.push(*number),
            }
        }
        for port in others {
            self.try_again(port);
        }
        if taken.is_empty() || self.looking {
            return;
        }
        self.looking = true;
        let finder = self.finder.clone();
        self.tasks.spawn_blocking(move || {
            let listening = Listening::read();
            let free = |(port, reach)| (port, listening.is_free(port, reach));
            // As above.
            let _ = finder.send(Found::Free(taken.into_iter().map(free).collect()));
        });
    }

    fn try_again(&mut self, port: HostPort) {
        let known = self.open.get(&port);
        let Some((reach, routes)) = known.map(|known| (known.reach, known.routes.clone())) else {
            return;
        };
        let listening = self.listen(port, reach, &routes);
        if let (Some(known), Some(listening)) = (self.open.get_mut(&port), listening) {
            known.state = listening;
        }
    }

    /// Takes what was found out: ports that have been free for long enough, too.
    pub(super) fn take(&mut self, found: Found) {
        match found {
            Found::Why(port, reach, why) => match self.open.get_mut(&port) {
                Some(Port {
                    reach: now,
                    state: State::Refused { error, free_since },
                    ..
                }) if *now == reach => {
                    *error = Some(why);
                    *free_since = None;
                }
                // It is wanted otherwise by now, or not at all.
                _ => {}
            },
            Found::Free(ports) => {
                self.looking = false;
                for (port, free) in ports {
                    if self.is_due(port, free) {
                        self.try_again(port);
                    }
                }
            }
        }
    }

    /// Whether a port has been free for long enough.
    fn is_due(&mut self, port: HostPort, free: bool) -> bool {
        let state = self.open.get_mut(&port).map(|port| &mut port.state);
        let Some(State::Refused { free_since, .. }) = state else {
            return false;
        };
        match (free, *free_since) {
            (false, _) => *free_since = None,
            (true, None) => *free_since = Some(Instant::now()),
            (true, Some(since)) => return since.elapsed() >= FREE,
        }
        false
    }

    /// Whether something is kept that the one before had.
    pub(super) fn inherits(&self) -> bool {
        !self.inherited.is_empty()
    }

    /// Gives up what the one before had and nobody wants, but for some.
    pub(super) fn disinherit(&mut self, kept: impl Fn(u16) -> bool) {
        self.inherited.retain(kept);
    }

    /// Descriptors of all that listens, or was to, for another process.
    pub(super) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let mut all = self.inherited.copies()?;
        for port in self.open.values() {
            if let State::Listening { listeners, .. } = &port.state {
                all.extend(listeners.copies()?);
            }
        }
        Ok(all)
    }

    /// Whether one waits for a stranger to go, or for a right.
    pub(super) fn waits(&self) -> bool {
        let is_refused = |port: &Port| matches!(port.state, State::Refused { .. });
        self.open.values().any(is_refused)
    }

    /// What a port is, and why; `None` while that is being found out.
    pub(super) fn state(&self, port: HostPort) -> Option<(PortState, Option<ErrorReport>)> {
        Some(match self.open.get(&port).map(|port| &port.state) {
            None => (PortState::Idle, None),
            Some(State::Listening { .. }) => (PortState::Forwarded, None),
            Some(State::Refused { error, .. }) => (PortState::Taken, Some(error.clone()?)),
        })
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        for port in self.open.values() {
            if let State::Listening { end, .. } = &port.state {
                end.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_a_port_is_found_out_beside() {
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = HostPort::new(stranger.local_addr().unwrap().port()).unwrap();
        let mut ports = Ports::new(TaskTracker::new(), Shared::default(), Inherited::default());
        let wanted = BTreeMap::from([(port, Wanted::default())]);
        ports.set(wanted).await;
        // Nobody has waited for it.
        assert_eq!(ports.state(port), None);
        let found = ports.found.recv().await.unwrap();
        ports.take(found);
        let (state, problem) = ports.state(port).unwrap();
        assert_eq!(state, PortState::Taken);
        assert_eq!(problem.unwrap().kind, ErrorKind::Conflict);
        // It is asked about once at a time.
        ports.look_again();
        ports.look_again();
        let Some(Found::Free(free)) = ports.found.recv().await else {
            panic!("it wasn't looked whether it is free");
        };
        assert_eq!(free, [(port, false)]);
        assert!(ports.found.try_recv().is_err());
    }
}
