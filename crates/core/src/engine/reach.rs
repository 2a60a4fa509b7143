//! Engines beyond those that are asked where nothing says which: the user's remotes.

use std::sync::Arc;

use super::Engine;
use crate::backend::{Backend, Remotes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, RemoteName};
use crate::project::Project;

impl Engine {
    /// The same with remotes.
    #[must_use]
    pub fn with_remotes(self, remotes: Arc<dyn Remotes>) -> Self {
        Self {
            remotes: Some(remotes),
            ..self
        }
    }

    /// The use cases over one remote alone, for a project that names it. State, clock and events are
    /// shared with this engine room. Nothing is asked of the remote yet.
    ///
    /// # Errors
    /// `NotFound` for a name that the user has no remote of; `Config` and `Unsupported` for one that
    /// can't be used.
    pub fn at_remote(&self, name: &RemoteName) -> Result<Arc<Self>> {
        let backend = match &self.remotes {
            Some(remotes) => remotes.named(name)?,
            None => {
                let message = format!("no remote is called `{name}`");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        };
        Ok(Arc::new(Self {
            backends: vec![backend],
            at: Some(name.clone()),
            remotes: self.remotes.clone(),
            home: self.home.clone(),
            clock: self.clock.clone(),
            bus: self.bus.clone(),
            used: self.used.clone(),
        }))
    }

    /// The project's own remote, where it names one that isn't the only engine here already.
    pub(super) fn elsewhere(&self, project: &Project) -> Result<Option<Arc<Self>>> {
        match project.file().remote()? {
            Some(name) if self.at.as_ref() != Some(&name) => self.at_remote(&name).map(Some),
            _ => Ok(None),
        }
    }

    /// The backend that an old record names: one that is asked now, else one of the user's remotes.
    pub(super) fn backend_at(&self, id: &EngineId) -> Result<Arc<dyn Backend>> {
        let mut asked = self.backends.iter();
        let found = asked.find(|backend| backend.id() == id).cloned();
        found
            .or_else(|| self.remotes.as_ref()?.at(id))
            .ok_or_else(|| Error::new(ErrorKind::Unreachable, format!("{id} isn't asked now")))
    }
}
