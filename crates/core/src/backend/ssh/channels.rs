//! Ports of a guest by channels of one SSH session, which is begun when it is needed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::session::{Opened, Session};
use crate::backend::GuestStream;
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{GuestPort, InstanceName};

/// How long it may take to open a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a failure is remembered: each attempt costs the guest something.
const MEMORY: Duration = Duration::from_secs(5);
/// Where the guest's services listen, in the order in which they are tried.
const TARGETS: [&str; 2] = ["127.0.0.1", "::1"];

/// Who lets us into one boot of a guest.
#[async_trait]
pub(in crate::backend) trait ChannelSource: Send + Sync {
    /// The instance.
    fn name(&self) -> &InstanceName;

    /// Begins a session.
    ///
    /// # Errors
    /// Those of [`Route::dial`](crate::backend::Route::dial).
    async fn begin(&self) -> Result<Session>;
}

/// The channels to one boot of a guest.
pub(in crate::backend) struct Channels<D> {
    door: D,
    now: Mutex<Now>,
}

/// What there is now of a session.
enum Now {
    Nothing,
    Session(Arc<Session>),
    /// It wasn't let in, or there is nobody to let it in.
    Failed(ErrorReport, Instant),
}

impl<D: ChannelSource> Channels<D> {
    /// None yet.
    pub(in crate::backend) fn new(door: D) -> Self {
        Self {
            door,
            now: Mutex::new(Now::Nothing),
        }
    }

    /// Who lets us in.
    pub(in crate::backend) fn door(&self) -> &D {
        &self.door
    }

    /// Connects to a TCP port of one of the guest's own addresses.
    ///
    /// # Errors
    /// Those of [`Route::dial`](crate::backend::Route::dial).
    pub(in crate::backend) async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        let name = self.door.name();
        // A session that has ended meanwhile, or is held up, is replaced once.
        for _ in 0..2 {
            let session = self.session().await?;
            match self.open(&session, port).await? {
                Opened::Channel(channel) => return Ok(GuestStream::Channel(channel)),
                Opened::Lost => self.give_up(&session).await,
                Opened::Refused | Opened::Forbidden => {
                    let message = format!("nobody listens on port {port} of `{name}`");
                    return Err(Error::new(ErrorKind::Guest, message));
                }
            }
        }
        let message = format!("port {port} of `{name}` gives no answer");
        Err(Error::new(ErrorKind::Timeout, message))
    }

    /// The session that there is, else a new one. All who come meanwhile wait for the same.
    async fn session(&self) -> Result<Arc<Session>> {
        let mut now = self.now.lock().await;
        match &*now {
            Now::Session(session) if session.is_open() => return Ok(session.clone()),
            Now::Failed(why, until) if Instant::now() < *until => {
                return Err(Error::from(why.clone()));
            }
            _ => {}
        }
        *now = Now::Nothing;
        match self.door.begin().await {
            Ok(session) => {
                let session = Arc::new(session);
                *now = Now::Session(session.clone());
                Ok(session)
            }
            Err(error) => {
                *now = Now::Failed(error.report(), Instant::now() + MEMORY);
                Err(error)
            }
        }
    }

    /// Forgets a session that is of no use; the channels that it has live on.
    async fn give_up(&self, session: &Arc<Session>) {
        let mut now = self.now.lock().await;
        if matches!(&*now, Now::Session(known) if Arc::ptr_eq(known, session)) {
            *now = Now::Nothing;
        }
    }

    async fn open(&self, session: &Arc<Session>, port: GuestPort) -> Result<Opened> {
        for target in TARGETS {
            let opened = timeout(OPEN_TIMEOUT, session.open(target, port)).await;
            match opened {
                Ok(Opened::Refused) => {}
                Ok(Opened::Forbidden) => {
                    let message =
                        format!("the SSH server of `{}` forwards no ports", self.door.name());
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                Ok(opened) => return Ok(opened),
                Err(_) => return Ok(Opened::Lost),
            }
        }
        Ok(Opened::Refused)
    }
}
