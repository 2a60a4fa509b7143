//! The listeners that there are, and those that should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{ErrorKind, ErrorReport};
use crate::model::{HostPort, PortState, Reach};
use crate::proxy::{Routes, Shared, Table, bind, is_free, serve};

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
    shared: Shared,
    tasks: TaskTracker,
}

struct Port {
    reach: Reach,
    routes: Arc<Routes>,
    state: State,
}

enum State {
    Listening {
        end: CancellationToken,
        served: JoinHandle<()>,
    },
    /// Somebody else has it, or we may not.
    Refused {
        error: ErrorReport,
        /// Since when nobody has it; `None` while somebody does.
        free_since: Option<Instant>,
    },
}

impl Ports {
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self {
            open: BTreeMap::new(),
            shared: Shared::default(),
            tasks,
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
        for port in BTreeMap::into_values(ended) {
            if let State::Listening { end, served } = port.state {
                end.cancel();
                // The sockets have to be closed before the same port can be bound in another way. A panic
                // in there has closed them as well.
                let _ = served.await;
            }
        }
        for (port, wanted) in wanted {
            let Wanted {
                reach,
                inside,
                outside,
            } = wanted;
            let (shared, tasks) = (&self.shared, &self.tasks);
            let open = self.open.entry(port).or_insert_with(|| {
                let routes = Arc::<Routes>::default();
                let state = listen(port, reach, &routes, shared, tasks);
                Port {
                    reach,
                    routes,
                    state,
                }
            });
            open.routes.set(inside, outside);
        }
    }

    /// Takes those that have been free for long enough. Whether anything has changed.
    pub(super) fn look_again(&mut self) -> bool {
        let mut changed = false;
        for (number, port) in &mut self.open {
            let State::Refused { error, free_since } = &mut port.state else {
                continue;
            };
            if error.kind != ErrorKind::Conflict {
                // A right that is given, or an address that comes back, gives no event.
                port.state = listen(*number, port.reach, &port.routes, &self.shared, &self.tasks);
                changed |= matches!(port.state, State::Listening { .. });
                continue;
            }
            match (is_free(*number), *free_since) {
                (false, _) => *free_since = None,
                (true, None) => *free_since = Some(Instant::now()),
                (true, Some(since)) if since.elapsed() < FREE => {}
                (true, Some(_)) => {
                    port.state =
                        listen(*number, port.reach, &port.routes, &self.shared, &self.tasks);
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether one waits for a stranger to go, or for a right.
    pub(super) fn waits(&self) -> bool {
        let is_refused = |port: &Port| matches!(port.state, State::Refused { .. });
        self.open.values().any(is_refused)
    }

    pub(super) fn state(&self, port: HostPort) -> (PortState, Option<ErrorReport>) {
        match self.open.get(&port).map(|port| &port.state) {
            None => (PortState::Idle, None),
            Some(State::Listening { .. }) => (PortState::Forwarded, None),
            Some(State::Refused { error, .. }) => (PortState::Taken, Some(error.clone())),
        }
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

fn listen(
    port: HostPort,
    reach: Reach,
    routes: &Arc<Routes>,
    shared: &Shared,
    tasks: &TaskTracker,
) -> State {
    match bind(port, reach) {
        Ok(listeners) => {
            let end = CancellationToken::new();
            let serving = serve(listeners, routes.clone(), shared.clone(), end.clone());
            let served = tasks.spawn(serving);
            State::Listening { end, served }
        }
        Err(error) => State::Refused {
            error: error.report(),
            free_since: None,
        },
    }
}
