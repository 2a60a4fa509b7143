//! The use cases: what can be done to envs, one file each.
//!
//! Every surface makes one call here. A use case takes the env's lock, writes into its journal
//! before what can't be taken back or has to be, asks the backend, and publishes events. A failed or killed one leaves nothing half
//! made: it rolls back by itself, or [`Engine::recover`] does.
//! Deliberately absent: what an engine's answers look like (`backend`), and what is shown of it.

mod away;
mod clone;
mod collect;
mod configure;
mod create;
mod delete_project;
mod doctor;
mod exec;
mod firewall;
mod image;
mod info;
mod journal;
mod ledger;
mod lend;
mod lock;
mod overview;
mod place;
mod ports;
mod reach;
mod recover;
mod remove;
mod rename;
mod restore;
mod session;
mod snapshot;
mod start_stop;
mod task;
mod transfer;
mod trim;
mod undo;
mod used;
mod vacancy;
mod way;

use std::sync::Arc;

use crate::backend::{Backend, Remotes};
use crate::clock::Clock;
use crate::event::EventBus;
use crate::home::Home;
use crate::project::Registry;

pub use clone::{CloneRequest, Cloned};
pub use collect::Collected;
pub use configure::Configured;
pub use create::{CreateRequest, Created};
pub use delete_project::DeletedProject;
pub use exec::Entrance;
pub use image::{ImageStore, Published};
pub use info::Info;
pub use lend::Lent;
pub(crate) use overview::{Answers, survey};
pub(crate) use place::is_ours;
pub use rename::Renamed;
pub use restore::Restored;
pub use session::Session;
pub(crate) use session::is_session;
pub use snapshot::MayStop;
pub use start_stop::{Started, Stopped};
pub use transfer::{Place, TransferRequest, Transferred};
pub use trim::Keeping;
pub(crate) use way::Way;

/// The use cases over some engines.
pub struct Engine {
    backends: Vec<Arc<dyn Backend>>,
    /// Those that hold the envs of projects which name no remote.
    usual: Vec<Arc<dyn Backend>>,
    /// Engines beyond them.
    remotes: Option<Arc<dyn Remotes>>,
    home: Home,
    clock: Arc<dyn Clock>,
    bus: Arc<EventBus>,
    used: Arc<used::Used>,
    away: Arc<away::Away>,
}

impl Engine {
    /// An engine room over these backends, in the order of preference.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn Backend>>, home: Home, clock: Arc<dyn Clock>) -> Self {
        Self {
            usual: backends.clone(),
            backends,
            remotes: None,
            home,
            clock,
            bus: Arc::default(),
            used: Arc::default(),
            away: Arc::default(),
        }
    }

    /// The backends, in the order of preference.
    #[must_use]
    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// What happens.
    #[must_use]
    pub fn bus(&self) -> &EventBus {
        &self.bus
    }

    /// Where our state lives.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Which projects are known.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(self.home.clone())
    }
}
