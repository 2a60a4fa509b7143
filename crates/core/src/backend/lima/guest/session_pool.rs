//! Idle SSH sessions, reused for the next command: a login takes longer than most commands.
//!
//! A session runs one command at a time, because unread output blocks the whole session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::Channel;
use russh::client::Msg;
use tokio::time::{Instant, timeout};

use super::connection::{Boot, SshTarget};
use crate::backend::ssh::{Session, SessionUse};
use crate::error::Result;
use crate::model::InstanceName;

/// Time limit for a pooled session to open a channel: its guest may have been paused.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// A login's language and time zone don't change, so sessions expire.
const MAX_SESSION_AGE: Duration = Duration::from_secs(60);

/// At most one session per machine. Unused sessions end by themselves.
#[derive(Clone, Default)]
pub(crate) struct SessionPool(Arc<Mutex<HashMap<InstanceName, PooledSession>>>);

/// A session and its start time.
pub(crate) struct PooledSession {
    boot: Boot,
    since: Instant,
    session: Session,
}

impl SessionPool {
    /// Opens a channel for a command, in the pooled session or in a new one.
    ///
    /// # Errors
    /// As for [`SshTarget::connect`].
    pub(crate) async fn open_channel(
        &self,
        target: &SshTarget,
    ) -> Result<(PooledSession, Channel<Msg>, SessionUse)> {
        if let Some(pooled) = self.take(target)
            && let Ok(Ok((channel, user))) = timeout(OPEN_TIMEOUT, pooled.session.command()).await
        {
            return Ok((pooled, channel, user));
        }
        let pooled = PooledSession {
            boot: target.boot(),
            since: Instant::now(),
            session: target.connect().await?,
        };
        let (channel, user) = pooled.session.command().await?;
        Ok((pooled, channel, user))
    }

    fn take(&self, target: &SshTarget) -> Option<PooledSession> {
        let pooled = self.sessions().remove(target.name())?;
        let is_fresh = pooled.boot == target.boot() && pooled.since.elapsed() < MAX_SESSION_AGE;
        (is_fresh && pooled.session.is_open()).then_some(pooled)
    }

    /// Returns an idle session to the pool.
    pub(crate) fn put(&self, target: &SshTarget, pooled: PooledSession) {
        self.sessions().insert(target.name().clone(), pooled);
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<InstanceName, PooledSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
