//! Engines beyond those that are asked where nothing says which: the user's remotes.

use std::sync::Arc;

use super::Operations;
use crate::backend::{Backend, Remotes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{BackendChoice, EngineId, RemoteName};
use crate::project::Project;

impl Operations {
    /// The same with remotes.
    #[must_use]
    pub fn with_remotes(self, remotes: Arc<dyn Remotes>) -> Self {
        Self {
            remotes: Some(remotes),
            ..self
        }
    }

    /// The use cases for a project: over the remote that its file names, else over those of these engines
    /// that are of the kind which it names.
    ///
    /// # Errors
    /// Those of [`Operations::at_remote`]; `Config` for a `backend:` that is none.
    pub fn of(self: &Arc<Self>, project: &Project) -> Result<Arc<Self>> {
        if let Some(name) = project.file().remote()? {
            return self.at_remote(&name);
        }
        let choice = project.file().backend()?;
        let meant = self.backends.iter().filter(|backend| fits(backend, choice));
        let meant: Vec<_> = meant.cloned().collect();
        match meant.len() == self.backends.len() {
            true => Ok(self.clone()),
            false => Ok(Arc::new(self.over(meant))),
        }
    }

    /// The use cases over other engines. State, clock and events are shared with this engine room.
    fn over(&self, backends: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            backends,
            usual: self.usual.clone(),
            remotes: self.remotes.clone(),
            home: self.home.clone(),
            clock: self.clock.clone(),
            bus: self.bus.clone(),
            known_engines: self.known_engines.clone(),
            unreachable: self.unreachable.clone(),
        }
    }

    /// The use cases over one remote alone. State, clock and events are shared with this engine room.
    /// Nothing is asked of the remote yet.
    ///
    /// # Errors
    /// `NotFound` for a name that the user has no remote of; `Config` and `Unsupported` for one that
    /// can't be used.
    pub fn at_remote(&self, name: &RemoteName) -> Result<Arc<Self>> {
        Ok(Arc::new(self.over(vec![self.named(name)?])))
    }

    /// The engines that may have the envs of projects which name this remote, or none and a kind.
    pub(super) fn engines_for(
        &self,
        remote: Option<&RemoteName>,
        choice: BackendChoice,
    ) -> Result<Vec<Arc<dyn Backend>>> {
        match remote {
            Some(name) => Ok(vec![self.named(name)?]),
            None => {
                let meant = self.usual.iter().filter(|backend| fits(backend, choice));
                Ok(meant.cloned().collect())
            }
        }
    }

    fn named(&self, name: &RemoteName) -> Result<Arc<dyn Backend>> {
        match &self.remotes {
            Some(remotes) => remotes.named(name),
            None => {
                let message = format!("no remote is called `{name}`");
                Err(Error::new(ErrorKind::NotFound, message))
            }
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

/// Whether a file that chooses so means an engine. A remote that somebody has named is meant in any case.
fn fits(backend: &Arc<dyn Backend>, choice: BackendChoice) -> bool {
    choice.means(backend.kind()) || (choice == BackendChoice::Auto && backend.id().is_remote())
}
