//! The use cases: what can be done to envs, one file each.
//!
//! Every surface makes one call here. A use case takes the env's lock, writes into its journal
//! before what can't be taken back or has to be, asks the backend, and publishes events. A failed or killed one leaves nothing half
//! made: it rolls back by itself, or [`Operations::recover`] does.
//! Deliberately absent: what an engine's answers look like (`backend`), and what is shown of it.

mod clone;
mod configure;
mod create;
mod delete_project;
mod doctor;
mod engines;
mod exec;
mod firewall;
mod gc;
mod image;
mod info;
mod journal;
mod known_engines;
mod lock;
mod name_check;
mod operation;
mod overview;
mod recovery;
mod remove;
mod rename;
mod resolve;
mod restore;
mod routes;
mod session;
mod snapshot;
mod socket_forward;
mod start_stop;
mod transfer;
mod undo;
mod undo_ledger;
mod undo_limit;
mod unreachable_cache;
mod wake;

use std::sync::Arc;

use crate::backend::{Backend, Remotes};
use crate::clock::Clock;
use crate::event::EventBus;
use crate::home::Home;
use crate::project::Registry;

pub use clone::{CloneRequest, Cloned};
pub use configure::Configured;
pub use create::{CreateRequest, Created};
pub use delete_project::DeletedProject;
pub use exec::RunningEnv;
pub use gc::Collected;
pub use image::{ImageStore, Published};
pub use info::Info;
pub(crate) use overview::{RemoteAnswers, read_projects};
pub use rename::Renamed;
pub(crate) use resolve::is_ours;
pub use restore::Restored;
pub use session::Session;
pub(crate) use session::is_session;
pub use snapshot::MayStop;
pub use socket_forward::ForwardedSocket;
pub use start_stop::{Started, Stopped};
pub use transfer::{Place, TransferRequest, Transferred};
pub use undo_limit::UndoPolicy;
pub(crate) use wake::EnvRoute;

/// The use cases over some engines.
pub struct Operations {
    backends: Vec<Arc<dyn Backend>>,
    /// Those that hold the envs of projects which name no remote.
    usual: Vec<Arc<dyn Backend>>,
    /// Engines beyond them.
    remotes: Option<Arc<dyn Remotes>>,
    home: Home,
    clock: Arc<dyn Clock>,
    bus: Arc<EventBus>,
    known_engines: Arc<known_engines::KnownEngines>,
    unreachable: Arc<unreachable_cache::UnreachableCache>,
}

impl Operations {
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
            known_engines: Arc::default(),
            unreachable: Arc::default(),
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
