//! Choosing the engines of a project: the default ones or a remote.

use std::sync::Arc;

use super::Operations;
use crate::backend::{Backend, Remotes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{BackendChoice, EngineId, RemoteName};
use crate::project::Project;

impl Operations {
    /// Adds the user's remotes.
    #[must_use]
    pub fn with_remotes(self, remotes: Arc<dyn Remotes>) -> Self {
        Self {
            remotes: Some(remotes),
            ..self
        }
    }

    /// The use cases for a project: over the remote or the kind of engine that its file names.
    ///
    /// # Errors
    /// Those of [`Operations::for_remote`]; `Config` for an invalid `backend:`.
    pub fn for_project(self: &Arc<Self>, project: &Project) -> Result<Arc<Self>> {
        if let Some(name) = project.file().remote()? {
            self.trust().ensure_remote(project)?;
            return self.for_remote(&name);
        }
        let choice = project.file().backend()?;
        let chosen = self
            .backends
            .iter()
            .filter(|backend| matches_choice(backend, choice));
        let chosen: Vec<_> = chosen.cloned().collect();
        if chosen.len() == self.backends.len() {
            Ok(self.clone())
        } else {
            Ok(Arc::new(self.with_backends(chosen)))
        }
    }

    /// The use cases over other backends, with the same state, clock and bus.
    fn with_backends(&self, backends: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            backends,
            default_backends: self.default_backends.clone(),
            remotes: self.remotes.clone(),
            home: self.home.clone(),
            clock: self.clock.clone(),
            bus: self.bus.clone(),
            known_engines: self.known_engines.clone(),
            unreachable: self.unreachable.clone(),
        }
    }

    /// The use cases over one remote, with the same state, clock and bus. Does not connect.
    ///
    /// # Errors
    /// `NotFound` for an unknown remote; `Config` and `Unsupported` for an unusable one.
    pub fn for_remote(&self, name: &RemoteName) -> Result<Arc<Self>> {
        Ok(Arc::new(self.with_backends(vec![self.remote(name)?])))
    }

    /// The engines for projects that name this remote, or no remote and a kind.
    pub(super) fn engines_for(
        &self,
        remote: Option<&RemoteName>,
        choice: BackendChoice,
    ) -> Result<Vec<Arc<dyn Backend>>> {
        match remote {
            Some(name) => Ok(vec![self.remote(name)?]),
            None => {
                let chosen = self
                    .default_backends
                    .iter()
                    .filter(|backend| matches_choice(backend, choice));
                Ok(chosen.cloned().collect())
            }
        }
    }

    fn remote(&self, name: &RemoteName) -> Result<Arc<dyn Backend>> {
        match &self.remotes {
            Some(remotes) => remotes.named(name),
            None => {
                let message = format!("unknown remote `{name}`");
                Err(Error::new(ErrorKind::NotFound, message))
            }
        }
    }

    /// The backend of a record, among the current ones and the user's remotes.
    pub(super) fn backend_at(&self, id: &EngineId) -> Result<Arc<dyn Backend>> {
        let mut current = self.backends.iter();
        let found = current.find(|backend| backend.id() == id).cloned();
        found
            .or_else(|| self.remotes.as_ref()?.at(id))
            .ok_or_else(|| Error::new(ErrorKind::Unreachable, format!("{id} is not configured")))
    }
}

/// Whether an engine matches the `backend:` of a file. `auto` includes remotes.
fn matches_choice(backend: &Arc<dyn Backend>, choice: BackendChoice) -> bool {
    choice.matches(backend.kind()) || (choice == BackendChoice::Auto && backend.id().is_remote())
}
