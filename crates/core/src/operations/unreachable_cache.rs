//! A cache of unreachable remote engines.
//!
//! A connection to a machine that is off takes seconds to fail, which would delay every refresh of the view.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::overview::ListInstances;
use crate::backend::{Backend, Instance};
use crate::error::{ErrorKind, ErrorReport, Result};
use crate::model::EngineId;

const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Unreachable engines, with the time of the next attempt and the last error.
#[derive(Default)]
pub(super) struct UnreachableCache(Mutex<HashMap<EngineId, (Instant, ErrorReport)>>);

impl UnreachableCache {
    /// Lists the instances of an engine, unless it is remote and was unreachable a moment ago.
    ///
    /// # Errors
    /// Those of the engine, perhaps cached.
    pub(super) async fn list(
        &self,
        backend: &dyn Backend,
        list: ListInstances,
    ) -> Result<Vec<Instance>> {
        let id = backend.id();
        if !id.is_remote() {
            return list(backend).await;
        }
        let known = self.entries().get(id).cloned();
        if let Some((until, error)) = known
            && Instant::now() < until
        {
            return Err(error.into());
        }
        let answer = list(backend).await;
        match &answer {
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout) => {
                let entry = (Instant::now() + RETRY_INTERVAL, error.report());
                self.entries().insert(id.clone(), entry);
            }
            _ => {
                self.entries().remove(id);
            }
        }
        answer
    }

    /// Drops the entry of an engine that is reachable again.
    pub(super) fn remove(&self, id: &EngineId) {
        self.entries().remove(id);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<EngineId, (Instant, ErrorReport)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
