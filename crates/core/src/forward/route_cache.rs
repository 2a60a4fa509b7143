//! Caches routes to envs.
//!
//! A route belongs to an instance and a boot. Any event of the instance invalidates it, and so does a gap in the event
//! stream. Connections of an ended boot are cut, because no FIN ever arrives.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, BackendEvent, GuestStream};
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{EngineId, EnvStatus, GuestPort, InstanceName};
use crate::operations::{EnvRoute, Operations};
use crate::project::Project;
use crate::view::EnvRef;

/// Delay before an env that failed to start is started again.
const WAKE_RETRY_DELAY: Duration = Duration::from_secs(10);
/// Lifetime of a failed lookup, which many connections may share.
const FAILURE_LIFETIME: Duration = Duration::from_millis(30);
/// The same while engine events would invalidate it.
const OBSERVED_FAILURE_LIFETIME: Duration = Duration::from_secs(1);

/// Route cache of a process.
pub(super) struct RouteCache {
    operations: Arc<Operations>,
    state: Mutex<State>,
    /// Receives envs with connections whose boot ended.
    ended: mpsc::UnboundedSender<EnvRef>,
    tasks: TaskTracker,
    /// Cancelled after the last connection ended.
    drained: CancellationToken,
}

#[derive(Default)]
struct State {
    slots: HashMap<EnvRef, Slot>,
    /// Engines with an event task, and whether the stream is open.
    followed: HashMap<EngineId, bool>,
    waking: HashMap<EnvRef, Waking>,
    /// Number of events; a lookup is stale if it changed meanwhile.
    events: u64,
}

#[derive(Default)]
struct Slot {
    route: Option<Arc<EnvRoute>>,
    boot: Option<Boot>,
    failed: Option<Failed>,
    /// Serialises lookups.
    lookup: Arc<tokio::sync::Mutex<()>>,
}

/// State of an env that a connection starts.
enum Waking {
    Starting,
    /// Not retried until the deadline.
    Failed(Failed),
}

/// A cached failure.
struct Failed {
    until: Instant,
    error: ErrorReport,
}

/// The boot of the last connections.
#[derive(Clone)]
struct Boot {
    backend: Arc<dyn Backend>,
    instance: InstanceName,
    at: Option<Timestamp>,
}

impl RouteCache {
    pub(super) fn new(
        operations: Arc<Operations>,
        tasks: TaskTracker,
        drained: CancellationToken,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<EnvRef>) {
        let (ended, events) = mpsc::unbounded_channel();
        let routes = Self {
            operations,
            state: Mutex::default(),
            ended,
            tasks,
            drained,
        };
        (Arc::new(routes), events)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a port of an env.
    ///
    /// # Errors
    /// `Guest` if nothing listens; those of the lookup.
    pub(super) async fn dial(
        self: &Arc<Self>,
        env: &EnvRef,
        port: GuestPort,
    ) -> Result<GuestStream> {
        let cached = self
            .state()
            .slots
            .get(env)
            .and_then(|slot| slot.route.clone());
        if let Some(found) = cached {
            match found.route.dial(port).await {
                Err(error) if error.kind() != ErrorKind::Guest => self.forget(env, &found),
                dialled => return dialled,
            }
        }
        let found = self.look_up(env).await?;
        let dialled = found.route.dial(port).await;
        if let Err(error) = &dialled
            && error.kind() != ErrorKind::Guest
        {
            self.forget(env, &found);
        }
        dialled
    }

    fn forget(&self, env: &EnvRef, found: &Arc<EnvRoute>) {
        if let Some(slot) = self.state().slots.get_mut(env) {
            slot.route.take_if(|cached| Arc::ptr_eq(cached, found));
        }
    }

    /// Looks up a route, one lookup per env at a time.
    async fn look_up(self: &Arc<Self>, env: &EnvRef) -> Result<Arc<EnvRoute>> {
        let lookup = self
            .state()
            .slots
            .entry(env.clone())
            .or_default()
            .lookup
            .clone();
        let _turn = lookup.lock().await;
        if let Some(slot) = self.state().slots.get(env) {
            match (&slot.route, &slot.failed) {
                (Some(found), _) => return Ok(found.clone()),
                (None, Some(failed)) if Instant::now() < failed.until => {
                    return Err(failed.error.clone().into());
                }
                _ => {}
            }
        }
        let before = self.state().events;
        let found = self.find(env).await;
        let mut state = self.state();
        let unchanged = state.events == before;
        match found {
            Ok(found) => {
                let found = Arc::new(found);
                // Without an event stream a route is used only once.
                let keep = unchanged && state.followed.get(found.backend.id()) == Some(&true);
                let slot = state.slots.entry(env.clone()).or_default();
                slot.failed = None;
                slot.route = keep.then(|| found.clone());
                slot.boot = Some(Boot {
                    backend: found.backend.clone(),
                    instance: found.instance.clone(),
                    at: found.boot,
                });
                drop(state);
                self.follow(&found.backend);
                Ok(found)
            }
            Err(error) => {
                // The start of a stopped env causes an event of one of the engines.
                let all_followed =
                    !state.followed.is_empty() && state.followed.values().all(|open| *open);
                let good = if unchanged && all_followed && error.kind() == ErrorKind::Conflict {
                    OBSERVED_FAILURE_LIFETIME
                } else {
                    FAILURE_LIFETIME
                };
                let (until, report) = (Instant::now() + good, error.report());
                let slot = state.slots.entry(env.clone()).or_default();
                slot.failed = Some(Failed {
                    until,
                    error: report,
                });
                Err(error)
            }
        }
    }

    async fn find(self: &Arc<Self>, env: &EnvRef) -> Result<EnvRoute> {
        let project = Project::open(Path::new(&env.project_path))?;
        let operations = self.operations.for_project(&project)?;
        let found = operations.open_route(&project, &env.env).await;
        if found.is_err() {
            operations
                .backends()
                .iter()
                .for_each(|backend| self.follow(backend));
        }
        found
    }

    /// Starts an env in the background if connections may do that. Returns the error for waiting connections.
    pub(super) fn wake(self: &Arc<Self>, env: &EnvRef) -> Option<Error> {
        match self.state().waking.get(env) {
            Some(Waking::Starting) => return Some(waking(env)),
            Some(Waking::Failed(failed)) if Instant::now() < failed.until => {
                return Some(failed.error.clone().into());
            }
            _ => {}
        }
        let project = Project::open(Path::new(&env.project_path)).ok()?;
        if !self.operations.may_wake(&project, &env.env) {
            return None;
        }
        self.state().waking.insert(env.clone(), Waking::Starting);
        let error = waking(env);
        let (routes, env) = (self.clone(), env.clone());
        self.tasks.spawn(async move {
            let started = match routes.operations.for_project(&project) {
                Ok(operations) => operations.start(&project, &env.env).await.map(drop),
                Err(error) => Err(error),
            };
            let mut state = routes.state();
            match started {
                Ok(()) => drop(state.waking.remove(&env)),
                Err(error) => {
                    tracing::warn!(?error, env = %env.env, "cannot start env on connect");
                    let (until, error) = (Instant::now() + WAKE_RETRY_DELAY, error.report());
                    let failed = Waking::Failed(Failed { until, error });
                    state.waking.insert(env, failed);
                }
            }
        });
        Some(error)
    }

    /// Follows an engine's events, across its restarts.
    fn follow(self: &Arc<Self>, backend: &Arc<dyn Backend>) {
        let id = backend.id().clone();
        {
            let mut state = self.state();
            if state.followed.contains_key(&id) {
                return;
            }
            state.followed.insert(id, false);
        }
        let (routes, backend) = (self.clone(), backend.clone());
        tokio::spawn(async move {
            let drained = routes.drained.clone();
            let follow = async {
                loop {
                    routes.follow_once(&backend).await;
                    backend.returned().await;
                }
            };
            tokio::select! {
                () = drained.cancelled() => {}
                () = follow => {}
            }
        });
    }

    async fn follow_once(self: &Arc<Self>, backend: &Arc<dyn Backend>) {
        let id = backend.id();
        let Ok(mut events) = backend.events().await else {
            return;
        };
        self.state().followed.insert(id.clone(), true);
        // Events during the gap are lost.
        self.invalidate(|boot| boot.backend.id() == id);
        while let Some(event) = events.next().await {
            match event {
                BackendEvent::Changed(name) | BackendEvent::Started(name) => {
                    self.changed(id, &name)
                }
                BackendEvent::Renamed { old, new } => {
                    self.changed(id, &old);
                    self.changed(id, &new);
                }
            }
        }
        self.state().followed.insert(id.clone(), false);
        self.invalidate(|boot| boot.backend.id() == id);
    }

    fn changed(self: &Arc<Self>, id: &EngineId, name: &InstanceName) {
        self.invalidate(|boot| boot.backend.id() == id && boot.instance == *name);
    }

    /// Drops routes and checks whether their boots ended.
    fn invalidate(self: &Arc<Self>, matches: impl Fn(&Boot) -> bool) {
        let mut suspects = Vec::new();
        let mut state = self.state();
        state.events += 1;
        for (env, slot) in &mut state.slots {
            slot.failed = None;
            let Some(boot) = slot.boot.as_ref().filter(|boot| matches(boot)) else {
                continue;
            };
            slot.route = None;
            suspects.push((env.clone(), boot.clone()));
        }
        drop(state);
        for (env, boot) in suspects {
            let routes = self.clone();
            tokio::spawn(async move {
                if boot.has_ended().await && routes.end(&env, &boot) {
                    // Fails only at shutdown.
                    let _ = routes.ended.send(env);
                }
            });
        }
    }
}

impl RouteCache {
    /// Forgets an ended boot. Returns `false` if that is known or another boot started, whose connections must not be
    /// cut.
    fn end(&self, env: &EnvRef, boot: &Boot) -> bool {
        let mut state = self.state();
        let slot = state.slots.get_mut(env);
        let ended = slot.and_then(|slot| slot.boot.take_if(|last| last.at == boot.at));
        ended.is_some()
    }
}

impl Boot {
    /// Whether the boot has certainly ended. Instances keep running while their engine restarts.
    async fn has_ended(&self) -> bool {
        match self.backend.brief(&self.instance).await {
            Ok(now) => now.status == EnvStatus::Stopped || now.started_at != self.at,
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

/// Error for connections to an env that is starting.
fn waking(env: &EnvRef) -> Error {
    Error::new(ErrorKind::Guest, format!("`{}` is starting", env.env))
}
