//! A port of an env as something that can be dialled.

use std::sync::Arc;

use async_trait::async_trait;

use super::ways::Ways;
use crate::backend::GuestStream;
use crate::error::{ErrorKind, Result};
use crate::model::GuestPort;
use crate::proxy::Service;
use crate::view::EnvRef;

pub(super) struct EnvPort {
    pub(super) ways: Arc<Ways>,
    pub(super) env: EnvRef,
    pub(super) port: GuestPort,
}

#[async_trait]
impl Service for EnvPort {
    async fn dial(&self) -> Result<GuestStream> {
        match self.ways.dial(&self.env, self.port).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Err(self.ways.wake(&self.env).unwrap_or(error))
            }
            answered => answered,
        }
    }
}
