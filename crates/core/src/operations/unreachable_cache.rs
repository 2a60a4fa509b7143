//! Engines on other machines that don't answer, remembered for a while.
//!
//! A machine that is off answers nobody, and lets who asks wait for seconds. Where the state of everything is
//! asked for again and again, all that can be seen would wait with it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::overview::ListInstances;
use crate::backend::{Backend, Instance};
use crate::error::{ErrorKind, ErrorReport, Result};
use crate::model::EngineId;

/// How long one that didn't answer isn't asked again.
const REST: Duration = Duration::from_secs(30);

/// The engines that didn't answer, until when they are left alone, and why.
#[derive(Default)]
pub(super) struct UnreachableCache(Mutex<HashMap<EngineId, (Instant, ErrorReport)>>);

impl UnreachableCache {
    /// Asks an engine, unless it is on another machine and has just not answered.
    ///
    /// # Errors
    /// The engine's, of now or of a moment ago.
    pub(super) async fn ask(
        &self,
        backend: &dyn Backend,
        ask: ListInstances,
    ) -> Result<Vec<Instance>> {
        let id = backend.id();
        if !id.is_remote() {
            return ask(backend).await;
        }
        let known = self.away().get(id).cloned();
        if let Some((until, error)) = known
            && Instant::now() < until
        {
            return Err(error.into());
        }
        let answer = ask(backend).await;
        match &answer {
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout) => {
                let rest = (Instant::now() + REST, error.report());
                self.away().insert(id.clone(), rest);
            }
            _ => {
                self.away().remove(id);
            }
        }
        answer
    }

    /// It answers again.
    pub(super) fn delete_entry(&self, id: &EngineId) {
        self.away().remove(id);
    }

    fn away(&self) -> std::sync::MutexGuard<'_, HashMap<EngineId, (Instant, ErrorReport)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
