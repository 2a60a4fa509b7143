//! A port of an env as the target of connections.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::name::RouteName;
use super::traffic::Traffic;
use crate::backend::GuestStream;
use crate::error::Result;
use crate::view::EnvRef;

/// A service that can be dialled.
#[async_trait]
pub trait Service: Send + Sync {
    /// Dials the service.
    ///
    /// # Errors
    /// Those of the route; see [`is_transient`](super::is_transient).
    async fn dial(&self) -> Result<GuestStream>;
}

/// A port of an env.
pub struct Upstream {
    pub env: EnvRef,
    /// Host name without `.localhost`.
    pub name: RouteName,
    /// The dialled service.
    pub service: Arc<dyn Service>,
    /// Traffic counters.
    pub traffic: Arc<Traffic>,
    connections: Mutex<CancellationToken>,
}

impl Upstream {
    /// Creates an upstream without traffic.
    #[must_use]
    pub fn new(env: EnvRef, name: RouteName, service: Arc<dyn Service>) -> Self {
        Self {
            env,
            name,
            service,
            traffic: Arc::default(),
            connections: Mutex::default(),
        }
    }

    /// Resets all open connections.
    pub fn cut(&self) {
        let mut current = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *current).cancel();
    }

    /// Returns the token that [`Upstream::cut`] cancels. Must be called before dialling, so that no connection is missed.
    pub(super) fn cut_token(&self) -> CancellationToken {
        let current = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}
