//! Sessions whose command has ended, kept for the next one: to log in takes longer than most commands do.
//!
//! One command at a time has a session, because one whose output nobody reads holds its session up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::Channel;
use russh::client::Msg;
use tokio::time::{Instant, timeout};

use crate::backend::lima::guest::connection::{Boot, Reach};
use crate::backend::ssh::{Session, User};
use crate::error::Result;
use crate::model::InstanceName;

/// How long a kept session may take to open a channel: its guest may have been paused meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long one is used again. What a login sets up is as it was then: the language, the time zone.
const LONGEST: Duration = Duration::from_secs(60);

/// At most one of each machine. They end by themselves when nobody has used them for a while.
#[derive(Clone, Default)]
pub(crate) struct SessionPool(Arc<Mutex<HashMap<InstanceName, Login>>>);

/// A session, and when it has begun.
pub(crate) struct Login {
    boot: Boot,
    since: Instant,
    session: Session,
}

impl SessionPool {
    /// A channel for a command, in the session that was kept or in a new one.
    ///
    /// # Errors
    /// Those of [`Reach::begin`].
    pub(crate) async fn command(&self, reach: &Reach) -> Result<(Login, Channel<Msg>, User)> {
        if let Some(login) = self.take(reach)
            && let Ok(Ok((channel, user))) = timeout(TIMEOUT, login.session.command()).await
        {
            return Ok((login, channel, user));
        }
        let login = Login {
            boot: reach.boot(),
            since: Instant::now(),
            session: reach.begin().await?,
        };
        let (channel, user) = login.session.command().await?;
        Ok((login, channel, user))
    }

    fn take(&self, reach: &Reach) -> Option<Login> {
        let login = self.all().remove(reach.name())?;
        let is_fresh = login.boot == reach.boot() && login.since.elapsed() < LONGEST;
        (is_fresh && login.session.is_open()).then_some(login)
    }

    /// Keeps one in which nothing runs any more.
    pub(crate) fn put(&self, reach: &Reach, login: Login) {
        self.all().insert(reach.name().clone(), login);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<InstanceName, Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
