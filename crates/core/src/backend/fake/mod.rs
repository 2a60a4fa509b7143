//! A strict in-memory engine for fast tests and fault injection.
//!
//! It rejects what real engines tolerate, its guests know only the commands of [`guest`], and any call can be made
//! to fail. It proves nothing about real engines: the contract suite runs against both.

mod engine;
mod files;
mod guest;
mod images;
mod route;
mod snapshots;
mod state;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use super::BackendEvent;
use crate::error::Result;
use crate::model::{EngineId, EngineKind, EngineProject, EnvStatus, GuestPort, InstanceName};
pub use state::Fault;
use state::State;

/// The only predefined image.
pub const IMAGE: &str = "debian/12";

/// Behaviour of the storage pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Cheap copies; a restore keeps later snapshots.
    Btrfs,
    /// Cheap copies; a restore deletes later snapshots.
    Zfs,
    /// Full copies.
    Dir,
}

/// The in-memory engine.
pub struct Fake {
    id: EngineId,
    pool: Pool,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<BackendEvent>,
    reachable: watch::Sender<bool>,
    responding: watch::Sender<bool>,
}

impl Fake {
    /// An empty engine.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self::at("memory ", pool)
    }

    /// An engine with the address of a remote.
    #[must_use]
    pub fn remote(pool: Pool) -> Self {
        Self::at("https://memory.invalid/", pool)
    }

    fn at(address: &str, pool: Pool) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self {
            id: EngineId {
                kind: EngineKind::Fake,
                address: format!("{address}{}", NEXT.fetch_add(1, Ordering::Relaxed)),
                project: EngineProject::default_project(),
            },
            pool,
            state: Arc::new(Mutex::new(State::new())),
            events: broadcast::channel(256).0,
            reachable: watch::Sender::new(true),
            responding: watch::Sender::new(true),
        }
    }

    /// Makes the next call of this name (`"start"`, `"create_snapshot"`…) fail before it changes anything.
    pub fn fail_next(&self, call: &'static str) {
        self.inject(call, Fault::Before);
    }

    /// Makes the next call of this name go wrong.
    pub fn inject(&self, call: &'static str, fault: Fault) {
        self.lock().faults.insert(call, fault);
    }

    /// Sets the engine's clock, which is independent of the caller's.
    pub fn set_clock(&self, now: jiff::Timestamp) {
        self.lock().clock = now;
    }

    /// Sets whether calls fail as unreachable.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.lock().unreachable = unreachable;
        self.reachable.send_replace(!unreachable);
    }

    /// Sets whether queries hang, as if the remote were switched off.
    pub fn set_silent(&self, silent: bool) {
        self.responding.send_replace(!silent);
    }

    async fn wait_until_responding(&self) {
        let mut responding = self.responding.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = responding.wait_for(|responding| *responding).await;
    }

    /// Sets whether the engine is installed.
    pub fn set_installed(&self, installed: bool) {
        self.lock().absent = !installed;
    }

    /// Forbids snapshots, like a restricted project.
    pub fn forbid_snapshots(&self) {
        self.lock().forbids_snapshots = true;
    }

    /// Sets the size of the pool.
    pub fn set_pool_size(&self, bytes: u64) {
        self.lock().pool_size = bytes;
    }

    /// Moves an instance to a cluster member.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn move_to(&self, name: &InstanceName, member: &str) -> Result<()> {
        self.lock().instance_mut(name)?.location = Some(member.to_owned());
        self.changed(name);
        Ok(())
    }

    /// Connects a port of a running instance to a host socket until the instance stops; `None` closes it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the instance is not running.
    pub fn listen(
        &self,
        name: &InstanceName,
        port: GuestPort,
        service: Option<SocketAddr>,
    ) -> Result<()> {
        let mut state = self.lock();
        let instance = state.instance_mut(name)?;
        instance.expect(name, EnvStatus::Running)?;
        match service {
            Some(service) => instance.services.insert(port, service),
            None => instance.services.remove(&port),
        };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Yields before and after a change, so that tests can cancel the caller at either point.
    async fn change(&self, change: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        tokio::task::yield_now().await;
        let result = change();
        let result = result.and_then(|()| self.lock().take_late_fault());
        tokio::task::yield_now().await;
        result
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.check_faults(name)?;
        Ok(state)
    }

    fn emit(&self, event: BackendEvent) {
        // Fails without a receiver.
        let _ = self.events.send(event);
    }

    fn changed(&self, name: &InstanceName) {
        self.emit(BackendEvent::Changed(name.clone()));
    }
}
