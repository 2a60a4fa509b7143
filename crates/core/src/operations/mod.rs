//! The use cases: the operations on envs, one file each.
//!
//! A surface makes one call per operation. An operation locks the env, journals each step that needs
//! recovery before it begins, calls the backend and publishes events. A failed operation rolls back; an
//! interrupted one is rolled back or completed by [`Operations::recover`].
//! Deliberately absent: wire formats of engines (`backend`) and presentation (`view` and the surfaces).

mod clone;
mod configure;
mod create;
mod delete_project;
mod deletion_ledger;
mod doctor;
mod engines;
mod exec;
mod firewall;
mod gc;
mod image;
mod info;
mod instances;
mod journal;
mod known_engines;
mod lock;
mod mounts;
mod name_check;
mod operation;
mod overview;
mod recovered;
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

use std::path::Path;
use std::sync::Arc;

use crate::backend::{Backend, Remotes};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::{EventBus, EventKind};
use crate::home::Home;
use crate::model::{EnvName, VariableName};
use crate::preferences::Preferences;
use crate::project::{Project, Registry, Trust};

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
pub(crate) use routes::EnvRoute;
pub use session::Session;
pub(crate) use session::is_session_file;
pub use snapshot::MayStop;
pub use socket_forward::ForwardedSocket;
pub use start_stop::{Started, Stopped};
#[cfg(feature = "fuzzing")]
pub use transfer::unpack_stream;
pub use transfer::{Location, TransferRequest, Transferred};
pub use undo_limit::UndoPolicy;

/// The use cases, over a set of backends.
pub struct Operations {
    backends: Vec<Arc<dyn Backend>>,
    /// Backends for projects that name no remote.
    default_backends: Vec<Arc<dyn Backend>>,
    remotes: Option<Arc<dyn Remotes>>,
    home: Home,
    clock: Arc<dyn Clock>,
    bus: Arc<EventBus>,
    known_engines: Arc<known_engines::KnownEngines>,
    unreachable: Arc<unreachable_cache::UnreachableCache>,
}

impl Operations {
    /// Creates the use cases over these backends, in order of preference.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn Backend>>, home: Home, clock: Arc<dyn Clock>) -> Self {
        Self {
            default_backends: backends.clone(),
            backends,
            remotes: None,
            home,
            clock,
            bus: Arc::default(),
            known_engines: Arc::default(),
            unreachable: Arc::default(),
        }
    }

    /// Backends in order of preference.
    #[must_use]
    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// The event bus.
    #[must_use]
    pub fn bus(&self) -> &EventBus {
        &self.bus
    }

    /// The directory of this program's state.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The registry of known projects.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(self.home.clone())
    }

    /// The user's answers about projects' files.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::new(self.home.clone())
    }

    /// The host variables that commands in an env receive.
    ///
    /// # Errors
    /// `Untrusted` without consent to them; `InvalidName` for an invalid name.
    pub fn host_variables(&self, project: &Project, env: &EnvName) -> Result<Vec<VariableName>> {
        let names = project.file().host_variables(env)?;
        if !names.is_empty() {
            self.trust().ensure(project, env, &[])?;
        }
        Ok(names)
    }

    /// Publishes a notice for the user.
    fn notice(&self, text: String) {
        self.bus.publish(EventKind::Notice(text));
    }

    /// Reads the user's preferences. An invalid file is set aside with a notice.
    fn preferences(&self) -> Result<Preferences> {
        let (preferences, warning) = Preferences::read(&self.home)?;
        if let Some(warning) = warning {
            self.notice(warning);
        }
        Ok(preferences)
    }
}

/// Deletes a file. A missing one is a success.
fn delete_file_if_present(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(
            format!("cannot delete {}", path.display()),
            error,
        )),
        _ => Ok(()),
    }
}
