//! Where connections may lead: a port of an env.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::name::RouteName;
use super::traffic::Traffic;
use crate::backend::GuestStream;
use crate::error::Result;
use crate::view::EnvRef;

/// A service in an env: how a connection to it is made.
#[async_trait]
pub trait Service: Send + Sync {
    /// Connects.
    ///
    /// # Errors
    /// [`passes`](super::passes) tells those after which it is worth trying again soon.
    async fn dial(&self) -> Result<GuestStream>;
}

/// A port of an env.
pub struct Upstream {
    /// Which env.
    pub env: EnvRef,
    /// What its host name begins with.
    pub name: RouteName,
    /// How it is reached.
    pub service: Arc<dyn Service>,
    /// What has passed so far.
    pub traffic: Arc<Traffic>,
    connections: Mutex<CancellationToken>,
}

impl Upstream {
    /// A port through which nothing has passed yet.
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

    /// Resets the connections that are open now. Later ones live.
    pub fn cut(&self) {
        let mut current = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *current).cancel();
    }

    /// Cancelled when what is open now is cut. To be asked for before a connection is made, so that
    /// none slips through.
    pub(super) fn ticket(&self) -> CancellationToken {
        let current = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}
