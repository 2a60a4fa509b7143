//! The routes to envs, kept for as long as they are good.
//!
//! A way is known by instance and boot. Whatever the engine tells of an instance drops its way, and so does
//! the end of the engine's events, for what happens then isn't heard. Connections of a boot that is over
//! are cut: no end of theirs would ever arrive.

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

/// How long an env that could not be started isn't started again.
const WAKE_FAILURE: Duration = Duration::from_secs(10);
/// How long a failed look-up is good for everybody who asks: many may wait for one env.
const FAILURE: Duration = Duration::from_millis(30);
/// The same where the engine would tell of a change.
const HEARD_FAILURE: Duration = Duration::from_secs(1);

/// The routes of one process.
pub(super) struct RouteCache {
    operations: Arc<Operations>,
    known: Mutex<Known>,
    /// Who is told of envs of which the boot is over to which connections were made.
    ended: mpsc::UnboundedSender<EnvRef>,
    /// Those of starting envs.
    tasks: TaskTracker,
    /// Cancelled once no connection is left that could be cut.
    over: CancellationToken,
}

#[derive(Default)]
struct Known {
    slots: HashMap<EnvRef, Slot>,
    /// Engines whose events are followed, and whether they are heard at this moment.
    followed: HashMap<EngineId, bool>,
    waking: HashMap<EnvRef, Waking>,
    /// Counts what was heard: a look-up during which something was heard may be stale.
    heard: u64,
}

#[derive(Default)]
struct Slot {
    way: Option<Arc<EnvRoute>>,
    boot: Option<Boot>,
    failed: Option<Failed>,
    /// Held by the one who looks.
    looking: Arc<tokio::sync::Mutex<()>>,
}

/// An env that a connection starts.
enum Waking {
    /// It is being started.
    Now,
    /// It could not be: why, and until when nobody tries again.
    Failed(Failed),
}

/// Something that failed, and until when that is good.
struct Failed {
    until: Instant,
    error: ErrorReport,
}

/// The boot to which connections were made last.
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
        over: CancellationToken,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<EnvRef>) {
        let (ended, heard) = mpsc::unbounded_channel();
        let routes = Self {
            operations,
            known: Mutex::default(),
            ended,
            tasks,
            over,
        };
        (Arc::new(routes), heard)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to a port of an env.
    ///
    /// # Errors
    /// `Guest` where nobody listens; those of finding it.
    pub(super) async fn dial(
        self: &Arc<Self>,
        env: &EnvRef,
        port: GuestPort,
    ) -> Result<GuestStream> {
        let kept = self
            .known()
            .slots
            .get(env)
            .and_then(|slot| slot.way.clone());
        if let Some(way) = kept {
            match way.route.dial(port).await {
                Err(error) if error.kind() != ErrorKind::Guest => self.forget(env, &way),
                answered => return answered,
            }
        }
        let way = self.look(env).await?;
        let answered = way.route.dial(port).await;
        if let Err(error) = &answered
            && error.kind() != ErrorKind::Guest
        {
            self.forget(env, &way);
        }
        answered
    }

    fn forget(&self, env: &EnvRef, way: &Arc<EnvRoute>) {
        if let Some(slot) = self.known().slots.get_mut(env) {
            slot.way.take_if(|known| Arc::ptr_eq(known, way));
        }
    }

    /// Looks a way up, one look at a time.
    async fn look(self: &Arc<Self>, env: &EnvRef) -> Result<Arc<EnvRoute>> {
        let looking = self
            .known()
            .slots
            .entry(env.clone())
            .or_default()
            .looking
            .clone();
        let _turn = looking.lock().await;
        if let Some(slot) = self.known().slots.get(env) {
            match (&slot.way, &slot.failed) {
                (Some(way), _) => return Ok(way.clone()),
                (None, Some(failed)) if Instant::now() < failed.until => {
                    return Err(failed.error.clone().into());
                }
                _ => {}
            }
        }
        let before = self.known().heard;
        let found = self.find(env).await;
        let mut known = self.known();
        let quiet = known.heard == before;
        match found {
            Ok(way) => {
                let way = Arc::new(way);
                // What isn't followed could change unheard: good for this once.
                let keep = quiet && known.followed.get(way.backend.id()) == Some(&true);
                let slot = known.slots.entry(env.clone()).or_default();
                slot.failed = None;
                slot.way = keep.then(|| way.clone());
                slot.boot = Some(Boot {
                    backend: way.backend.clone(),
                    instance: way.instance.clone(),
                    at: way.boot,
                });
                drop(known);
                self.follow(&way.backend);
                Ok(way)
            }
            Err(error) => {
                // One that doesn't run is started or stays so: every engine that may have it is heard.
                let all_heard =
                    !known.followed.is_empty() && known.followed.values().all(|stands| *stands);
                let good = match quiet && all_heard && error.kind() == ErrorKind::Conflict {
                    true => HEARD_FAILURE,
                    false => FAILURE,
                };
                let (until, report) = (Instant::now() + good, error.report());
                let slot = known.slots.entry(env.clone()).or_default();
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
        let operations = self.operations.of(&project)?;
        let found = operations.way(&project, &env.env).await;
        if found.is_err() {
            operations
                .backends()
                .iter()
                .for_each(|backend| self.follow(backend));
        }
        found
    }

    /// Starts an env in the background, if connections may do that; what those who wait are told meanwhile.
    pub(super) fn wake(self: &Arc<Self>, env: &EnvRef) -> Option<Error> {
        match self.known().waking.get(env) {
            Some(Waking::Now) => return Some(waking(env)),
            Some(Waking::Failed(failed)) if Instant::now() < failed.until => {
                return Some(failed.error.clone().into());
            }
            _ => {}
        }
        let project = Project::open(Path::new(&env.project_path)).ok()?;
        if !self.operations.may_wake(&project, &env.env) {
            return None;
        }
        self.known().waking.insert(env.clone(), Waking::Now);
        let told = waking(env);
        let (routes, env) = (self.clone(), env.clone());
        self.tasks.spawn(async move {
            let started = match routes.operations.of(&project) {
                Ok(operations) => operations.start(&project, &env.env).await.map(drop),
                Err(error) => Err(error),
            };
            let mut known = routes.known();
            match started {
                Ok(()) => drop(known.waking.remove(&env)),
                Err(error) => {
                    tracing::warn!(?error, env = %env.env, "can't be woken");
                    let (until, error) = (Instant::now() + WAKE_FAILURE, error.report());
                    let failed = Waking::Failed(Failed { until, error });
                    known.waking.insert(env, failed);
                }
            }
        });
        Some(told)
    }

    /// Follows an engine's events from now on, over its restarts.
    fn follow(self: &Arc<Self>, backend: &Arc<dyn Backend>) {
        let id = backend.id().clone();
        {
            let mut known = self.known();
            if known.followed.contains_key(&id) {
                return;
            }
            known.followed.insert(id, false);
        }
        let (routes, backend) = (self.clone(), backend.clone());
        tokio::spawn(async move {
            let over = routes.over.clone();
            let follow = async {
                loop {
                    routes.follow_once(&backend).await;
                    backend.returned().await;
                }
            };
            tokio::select! {
                () = over.cancelled() => {}
                () = follow => {}
            }
        });
    }

    async fn follow_once(self: &Arc<Self>, backend: &Arc<dyn Backend>) {
        let id = backend.id();
        let Ok(mut events) = backend.events().await else {
            return;
        };
        self.known().followed.insert(id.clone(), true);
        // What happened meanwhile wasn't heard.
        self.drop_ways(|of| of.backend.id() == id);
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
        self.known().followed.insert(id.clone(), false);
        self.drop_ways(|of| of.backend.id() == id);
    }

    fn changed(self: &Arc<Self>, id: &EngineId, name: &InstanceName) {
        self.drop_ways(|of| of.backend.id() == id && of.instance == *name);
    }

    /// Drops routes, and looks whether the boots to which they led still last.
    fn drop_ways(self: &Arc<Self>, which: impl Fn(&Boot) -> bool) {
        let mut doubtful = Vec::new();
        let mut known = self.known();
        known.heard += 1;
        for (env, slot) in &mut known.slots {
            slot.failed = None;
            let Some(boot) = slot.boot.as_ref().filter(|boot| which(boot)) else {
                continue;
            };
            slot.way = None;
            doubtful.push((env.clone(), boot.clone()));
        }
        drop(known);
        for (env, boot) in doubtful {
            let routes = self.clone();
            tokio::spawn(async move {
                if boot.is_over().await && routes.end(&env, &boot) {
                    // An end of the receiver is the end of the process.
                    let _ = routes.ended.send(env);
                }
            });
        }
    }
}

impl RouteCache {
    /// Forgets a boot that is over; `false` where that was known, or another one has begun: who waits for
    /// that one must not be cut.
    fn end(&self, env: &EnvRef, boot: &Boot) -> bool {
        let mut known = self.known();
        let slot = known.slots.get_mut(env);
        let ended = slot.and_then(|slot| slot.boot.take_if(|last| last.at == boot.at));
        ended.is_some()
    }
}

impl Boot {
    /// Whether it is known to be over. An engine that doesn't answer leaves that open: instances run on
    /// while it is restarted.
    async fn is_over(&self) -> bool {
        match self.backend.brief(&self.instance).await {
            Ok(now) => now.status == EnvStatus::Stopped || now.started_at != self.at,
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

/// What is said to those who wait for an env that was just woken.
fn waking(env: &EnvRef) -> Error {
    Error::new(ErrorKind::Guest, format!("`{}` is being started", env.env))
}
