//! Sessions whose command has ended, kept for the next one: to log in takes longer than most commands do.
//!
//! One command at a time has a session, because one whose output nobody reads holds its session up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::Channel;
use russh::client::Msg;
use tokio::time::timeout;

use super::reach::{Boot, Reach};
use crate::backend::ssh::{Session, User};
use crate::error::Result;
use crate::model::InstanceName;

/// How long a kept session may take to open a channel: its guest may have been paused meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// At most one of each machine. They end by themselves when nobody has used them for a while.
#[derive(Clone, Default)]
pub(super) struct Spares(Arc<Mutex<HashMap<InstanceName, (Boot, Session)>>>);

impl Spares {
    /// A channel for a command, in the session that was kept or in a new one.
    ///
    /// # Errors
    /// Those of [`Reach::begin`].
    pub(super) async fn command(&self, reach: &Reach) -> Result<(Session, Channel<Msg>, User)> {
        if let Some(session) = self.take(reach)
            && let Ok(Ok((channel, user))) = timeout(PATIENCE, session.command()).await
        {
            return Ok((session, channel, user));
        }
        let session = reach.begin().await?;
        let (channel, user) = session.command().await?;
        Ok((session, channel, user))
    }

    fn take(&self, reach: &Reach) -> Option<Session> {
        let (boot, session) = self.all().remove(reach.name())?;
        (boot == reach.boot() && session.is_open()).then_some(session)
    }

    /// Keeps a session in which nothing runs any more.
    pub(super) fn put(&self, reach: &Reach, session: Session) {
        self.all()
            .insert(reach.name().clone(), (reach.boot(), session));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<InstanceName, (Boot, Session)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
