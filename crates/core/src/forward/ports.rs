//! Opens and closes listeners.

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
use crate::model::{HostPort, ListenScope, PortState};
use crate::proxy::{Listeners, Listening, Routes, Shared, Table, bind_with, serve};

/// Interval for checking ports in use by other processes.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// A port must be free this long, so that a restarting server can bind it again.
const MIN_FREE_TIME: Duration = Duration::from_secs(10);

/// Desired state of a port.
#[derive(Default)]
pub(super) struct PortSpec {
    pub(super) reach: ListenScope,
    /// For connections from this host.
    pub(super) local: Table,
    /// For connections from other hosts.
    pub(super) remote: Table,
}

/// The listeners of this process.
pub(super) struct Ports {
    open: BTreeMap<HostPort, Port>,
    /// Listeners of the previous process that are not used yet.
    inherited: Inherited,
    shared: Shared,
    tasks: TaskTracker,
    results: mpsc::UnboundedSender<CheckResult>,
    /// Results for [`Ports::apply`].
    pub(super) found: mpsc::UnboundedReceiver<CheckResult>,
    /// A check for free ports is running.
    checking: bool,
}

struct Port {
    reach: ListenScope,
    routes: Arc<Routes>,
    state: State,
}

enum State {
    Listening {
        listeners: Arc<Listeners>,
        end: CancellationToken,
        served: JoinHandle<()>,
    },
    /// In use by another process, or not permitted.
    Refused {
        /// `None` until the reason is known.
        error: Option<ErrorReport>,
        /// `None` while the port is in use.
        free_since: Option<Instant>,
    },
}

/// Result of a background check.
pub(super) enum CheckResult {
    /// Why a port cannot be bound.
    Refused(HostPort, ListenScope, ErrorReport),
    /// Whether ports in use are free now.
    Free(Vec<(HostPort, bool)>),
}

impl Ports {
    pub(super) fn new(tasks: TaskTracker, shared: Shared, inherited: Inherited) -> Self {
        let (results, found) = mpsc::unbounded_channel();
        Self {
            open: BTreeMap::new(),
            inherited,
            shared,
            tasks,
            results,
            found,
            checking: false,
        }
    }

    /// Opens and closes listeners as specified and updates their routes.
    pub(super) async fn set(&mut self, wanted: BTreeMap<HostPort, PortSpec>) {
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
        // Cancel all before waiting, so that a cancelled wait leaves none open. Sockets must be closed before a port can be
        // bound with another scope. A panicked task has closed its sockets too.
        futures_util::future::join_all(closing).await;
        for (port, wanted) in wanted {
            let PortSpec {
                reach,
                local,
                remote,
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
                open.routes.set(local, remote);
            }
        }
    }

    /// Binds a port. Returns `None` on failure; the reason is determined in the background.
    fn listen(
        &mut self,
        port: HostPort,
        reach: ListenScope,
        routes: &Arc<Routes>,
    ) -> Option<State> {
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
            Err(failure) => {
                let results = self.results.clone();
                self.tasks.spawn_blocking(move || {
                    let reason = failure.explain().report();
                    // Fails only at shutdown.
                    let _ = results.send(CheckResult::Refused(port, reach, reason));
                });
                None
            }
        }
    }

    /// Retries refused ports, and checks ports in use for being free.
    pub(super) fn retry_refused(&mut self) {
        let (mut in_use, mut others) = (Vec::new(), Vec::new());
        for (number, port) in &self.open {
            let State::Refused {
                error: Some(error), ..
            } = &port.state
            else {
                continue;
            };
            match error.kind {
                ErrorKind::Conflict => in_use.push((*number, port.reach)),
                // Permissions and addresses change without an event.
                _ => others.push(*number),
            }
        }
        for port in others {
            self.retry(port);
        }
        if in_use.is_empty() || self.checking {
            return;
        }
        self.checking = true;
        let results = self.results.clone();
        self.tasks.spawn_blocking(move || {
            let listening = Listening::read();
            let free = |(port, reach)| (port, listening.is_free(port, reach));
            // Fails only at shutdown.
            let _ = results.send(CheckResult::Free(in_use.into_iter().map(free).collect()));
        });
    }

    fn retry(&mut self, port: HostPort) {
        let known = self.open.get(&port);
        let Some((reach, routes)) = known.map(|known| (known.reach, known.routes.clone())) else {
            return;
        };
        let listening = self.listen(port, reach, &routes);
        if let (Some(known), Some(listening)) = (self.open.get_mut(&port), listening) {
            known.state = listening;
        }
    }

    /// Applies the result of a background check.
    pub(super) fn apply(&mut self, found: CheckResult) {
        match found {
            CheckResult::Refused(port, reach, reason) => match self.open.get_mut(&port) {
                Some(Port {
                    reach: now,
                    state: State::Refused { error, free_since },
                    ..
                }) if *now == reach => {
                    *error = Some(reason);
                    *free_since = None;
                }
                // The port changed or is no longer requested.
                _ => {}
            },
            CheckResult::Free(ports) => {
                self.checking = false;
                for (port, free) in ports {
                    if self.is_due(port, free) {
                        self.retry(port);
                    }
                }
            }
        }
    }

    /// Updates since when a port is free; true if long enough.
    fn is_due(&mut self, port: HostPort, free: bool) -> bool {
        let state = self.open.get_mut(&port).map(|port| &mut port.state);
        let Some(State::Refused { free_since, .. }) = state else {
            return false;
        };
        match (free, *free_since) {
            (false, _) => *free_since = None,
            (true, None) => *free_since = Some(Instant::now()),
            (true, Some(since)) => return since.elapsed() >= MIN_FREE_TIME,
        }
        false
    }

    /// Whether unused inherited listeners are left.
    pub(super) fn has_inherited(&self) -> bool {
        !self.inherited.is_empty()
    }

    /// Drops unused inherited listeners, except some.
    pub(super) fn drop_inherited(&mut self, kept: impl Fn(u16) -> bool) {
        self.inherited.retain(kept);
    }

    /// Duplicates the descriptors of all listeners for another process.
    pub(super) fn duplicate(&self) -> io::Result<Vec<OwnedFd>> {
        let mut all = self.inherited.duplicate()?;
        for port in self.open.values() {
            if let State::Listening { listeners, .. } = &port.state {
                all.extend(listeners.duplicate()?);
            }
        }
        Ok(all)
    }

    /// Whether a requested port could not be bound.
    pub(super) fn has_refused(&self) -> bool {
        let is_refused = |port: &Port| matches!(port.state, State::Refused { .. });
        self.open.values().any(is_refused)
    }

    /// Returns state and problem of a port; `None` until the problem is known.
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
    async fn port_in_use_is_explained_in_background() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = HostPort::new(other.local_addr().unwrap().port()).unwrap();
        let mut ports = Ports::new(TaskTracker::new(), Shared::default(), Inherited::default());
        let wanted = BTreeMap::from([(port, PortSpec::default())]);
        ports.set(wanted).await;
        // `set` does not wait for the reason.
        assert_eq!(ports.state(port), None);
        let found = ports.found.recv().await.unwrap();
        ports.apply(found);
        let (state, problem) = ports.state(port).unwrap();
        assert_eq!(state, PortState::Taken);
        assert_eq!(problem.unwrap().kind, ErrorKind::Conflict);
        // Only one check runs at a time.
        ports.retry_refused();
        ports.retry_refused();
        let Some(CheckResult::Free(free)) = ports.found.recv().await else {
            panic!("the port was not checked");
        };
        assert_eq!(free, [(port, false)]);
        assert!(ports.found.try_recv().is_err());
    }
}
