//! A strict engine in memory, for speed and for faults.
//!
//! Stricter than the real ones: it refuses what they merely tolerate, its guests know only the few
//! commands of [`guest`], and a fault can be put before any call. It is no evidence of how a real
//! engine behaves; the contract suite runs against it and the real ones alike.

mod engine;
mod files;
mod guest;
mod images;
mod route;
mod state;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use super::BackendEvent;
use crate::error::Result;
use crate::model::{EngineId, EngineKind, EngineProject, EnvStatus, GuestPort, InstanceName};
use state::State;

/// The one image that the fake has.
pub const IMAGE: &str = "debian/12";

/// How the fake's pool behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Copies are cheap and a restore leaves later snapshots alone.
    Btrfs,
    /// Copies are cheap; a restore deletes later snapshots.
    Zfs,
    /// Every copy copies everything.
    Dir,
}

/// The engine in memory.
pub struct Fake {
    id: EngineId,
    pool: Pool,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<BackendEvent>,
    reachable: watch::Sender<bool>,
    answers: watch::Sender<bool>,
}

impl Fake {
    /// An empty engine.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self::at("memory ", pool)
    }

    /// One that is on another machine, as far as anybody can tell.
    #[must_use]
    pub fn remote(pool: Pool) -> Self {
        Self::at("https://memory.invalid/", pool)
    }

    fn at(place: &str, pool: Pool) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self {
            id: EngineId {
                kind: EngineKind::Fake,
                address: format!("{place}{}", NEXT.fetch_add(1, Ordering::Relaxed)),
                project: EngineProject::default_one(),
            },
            pool,
            state: Arc::new(Mutex::new(State::new())),
            events: broadcast::channel(256).0,
            reachable: watch::Sender::new(true),
            answers: watch::Sender::new(true),
        }
    }

    /// The next call of this name (`"start"`, `"snapshot"`…) fails.
    pub fn fail_next(&self, call: &'static str) {
        self.lock().faults.insert(call);
    }

    /// From now on nobody can reach it, or everybody can again.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.lock().unreachable = unreachable;
        self.reachable.send_replace(!unreachable);
    }

    /// From now on it lets those wait who ask what it has, as a machine that is off does; or it answers them.
    pub fn set_silent(&self, silent: bool) {
        self.answers.send_replace(!silent);
    }

    async fn answering(&self) {
        // The sender is our own.
        let _ = self.answers.subscribe().wait_for(|answers| *answers).await;
    }

    /// Whether there is an engine at all.
    pub fn set_installed(&self, installed: bool) {
        self.lock().absent = !installed;
    }

    /// From now on no snapshot can be taken, as in a restricted project of an engine.
    pub fn forbid_snapshots(&self) {
        self.lock().forbids_snapshots = true;
    }

    /// From now on its pool has so many bytes.
    pub fn set_pool_size(&self, bytes: u64) {
        self.lock().pool_size = bytes;
    }

    /// From now on it is a cluster, and this member has the instance.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn move_to(&self, name: &InstanceName, member: &str) -> Result<()> {
        self.lock().held(name)?.location = Some(member.to_owned());
        self.changed(name);
        Ok(())
    }

    /// Puts a service on a port of a running instance, until that stops: whoever dials the port gets a
    /// connection to this socket. Without a socket the port has no service any more.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it doesn't run.
    pub fn listen(
        &self,
        name: &InstanceName,
        port: GuestPort,
        service: Option<SocketAddr>,
    ) -> Result<()> {
        let mut state = self.lock();
        let held = state.held(name)?;
        held.expect(name, EnvStatus::Running)?;
        match service {
            Some(service) => held.services.insert(port, service),
            None => held.services.remove(&port),
        };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change with the way to the engine before it and the way back after it: places at which a
    /// caller can be cut off, as a process is by SIGKILL.
    async fn travel(&self, change: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        tokio::task::yield_now().await;
        let changed = change();
        tokio::task::yield_now().await;
        changed
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.admit(name)?;
        Ok(state)
    }

    fn tell(&self, event: BackendEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    fn changed(&self, name: &InstanceName) {
        self.tell(BackendEvent::Changed(name.clone()));
    }
}
