//! Details of an env.

use super::Operations;
use crate::backend::{Instance, Usage};
use crate::error::{Error, Result};
use crate::model::{EngineId, EnvName};
use crate::project::Project;

/// Details of an env.
#[derive(Debug, Clone)]
pub struct Info {
    pub engine: EngineId,
    /// Name and version of the engine.
    pub server: String,
    pub instance: Instance,
    /// `None` unless it runs.
    pub usage: Option<Usage>,
}

impl Operations {
    /// Reads the details of an env.
    ///
    /// # Errors
    /// Those of finding the env and of the engine.
    pub async fn info(&self, project: &Project, env: &EnvName) -> Result<Info> {
        let failed = |error: Error| error.context(format!("cannot show `{env}`"));
        let resolved = self.resolve(project, env).await.map_err(failed)?;
        let backend = resolved.backend.as_ref();
        let server = backend.capabilities().await.map_err(failed)?.server;
        let usage = if resolved.instance.status.is_up() {
            // It may have stopped meanwhile.
            backend.usage(&resolved.instance.name).await.ok()
        } else {
            None
        };
        Ok(Info {
            engine: backend.id().clone(),
            server,
            instance: resolved.instance,
            usage,
        })
    }
}
