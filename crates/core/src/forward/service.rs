//! A port of an env as a proxy service.

use std::sync::Arc;

use async_trait::async_trait;

use super::route_cache::RouteCache;
use crate::backend::GuestStream;
use crate::error::{ErrorKind, Result};
use crate::model::GuestPort;
use crate::proxy::Service;
use crate::view::EnvRef;

pub(super) struct EnvPort {
    pub(super) routes: Arc<RouteCache>,
    pub(super) env: EnvRef,
    pub(super) port: GuestPort,
}

#[async_trait]
impl Service for EnvPort {
    async fn dial(&self) -> Result<GuestStream> {
        match self.routes.dial(&self.env, self.port).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Err(self.routes.wake(&self.env).unwrap_or(error))
            }
            dialled => dialled,
        }
    }
}
