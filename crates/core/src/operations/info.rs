//! Everything about one env.

use super::Operations;
use crate::backend::{Instance, Usage};
use crate::error::{Error, Result};
use crate::model::{EngineId, EnvName};
use crate::project::Project;

/// Everything that an engine knows of an env.
#[derive(Debug, Clone)]
pub struct Info {
    /// The engine that has it.
    pub engine: EngineId,
    /// Name and version of the engine.
    pub server: String,
    /// The env's instance.
    pub instance: Instance,
    /// What it uses, while it runs.
    pub usage: Option<Usage>,
}

impl Operations {
    /// Asks for everything about an env.
    ///
    /// # Errors
    /// Those of finding it, and the engine's.
    pub async fn info(&self, project: &Project, env: &EnvName) -> Result<Info> {
        let failed = |error: Error| error.context(format!("cannot tell about `{env}`"));
        let resolved = self.resolve(project, env).await.map_err(failed)?;
        let backend = resolved.backend.as_ref();
        let server = backend.capabilities().await.map_err(failed)?.server;
        let usage = match resolved.instance.status.is_up() {
            // One that stops right now uses nothing.
            true => backend.usage(&resolved.instance.name).await.ok(),
            false => None,
        };
        Ok(Info {
            engine: backend.id().clone(),
            server,
            instance: resolved.instance,
            usage,
        })
    }
}
