//! Connections to a guest's ports: channels of one SSH session, which is opened on demand.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::session::{OpenResult, Session};
use crate::backend::GuestStream;
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{GuestPort, InstanceName};

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// A failure is cached, because each attempt costs the guest some work.
const FAILURE_TTL: Duration = Duration::from_secs(5);
/// The guest's loopback addresses, in the order of attempts.
const TARGETS: [&str; 2] = ["127.0.0.1", "::1"];

/// Opens SSH sessions to one boot of a guest.
#[async_trait]
pub(in crate::backend) trait ChannelSource: Send + Sync {
    fn name(&self) -> &InstanceName;

    /// Opens a session.
    ///
    /// # Errors
    /// Those of [`Route::dial`](crate::backend::Route::dial).
    async fn open_session(&self) -> Result<Session>;
}

/// Channels to one boot of a guest.
pub(in crate::backend) struct Channels<D> {
    source: D,
    state: Mutex<SessionState>,
}

enum SessionState {
    None,
    Session(Arc<Session>),
    /// It could not be opened.
    Failed(ErrorReport, Instant),
}

impl<D: ChannelSource> Channels<D> {
    /// Opens no session yet.
    pub(in crate::backend) fn new(source: D) -> Self {
        Self {
            source,
            state: Mutex::new(SessionState::None),
        }
    }

    /// The source of its sessions.
    pub(in crate::backend) fn source(&self) -> &D {
        &self.source
    }

    /// Connects to a TCP port of one of the guest's own addresses.
    ///
    /// # Errors
    /// Those of [`Route::dial`](crate::backend::Route::dial).
    pub(in crate::backend) async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        let name = self.source.name();
        // A session that has ended or is blocked is replaced once.
        for _ in 0..2 {
            let session = self.session().await?;
            match self.open(&session, port).await? {
                OpenResult::Channel(channel) => return Ok(GuestStream::Channel(channel)),
                OpenResult::Lost => self.discard(&session).await,
                OpenResult::Refused | OpenResult::Forbidden => {
                    let message = format!("nothing is listening on port {port} of `{name}`");
                    return Err(Error::new(ErrorKind::Guest, message));
                }
            }
        }
        let message = format!("port {port} of `{name}` is not responding");
        Err(Error::new(ErrorKind::Timeout, message))
    }

    /// Returns the current session or opens one; concurrent callers wait for the same one.
    async fn session(&self) -> Result<Arc<Session>> {
        let mut state = self.state.lock().await;
        match &*state {
            SessionState::Session(session) if session.is_open() => return Ok(session.clone()),
            SessionState::Failed(report, until) if Instant::now() < *until => {
                return Err(Error::from(report.clone()));
            }
            _ => {}
        }
        *state = SessionState::None;
        match self.source.open_session().await {
            Ok(session) => {
                let session = Arc::new(session);
                *state = SessionState::Session(session.clone());
                Ok(session)
            }
            Err(error) => {
                *state = SessionState::Failed(error.report(), Instant::now() + FAILURE_TTL);
                Err(error)
            }
        }
    }

    /// Drops an unusable session; its channels continue.
    async fn discard(&self, session: &Arc<Session>) {
        let mut state = self.state.lock().await;
        if matches!(&*state, SessionState::Session(current) if Arc::ptr_eq(current, session)) {
            *state = SessionState::None;
        }
    }

    async fn open(&self, session: &Arc<Session>, port: GuestPort) -> Result<OpenResult> {
        for target in TARGETS {
            let opened = timeout(OPEN_TIMEOUT, session.open(target, port)).await;
            match opened {
                Ok(OpenResult::Refused) => {}
                Ok(OpenResult::Forbidden) => {
                    let message = format!(
                        "the SSH server of `{}` does not allow port forwarding",
                        self.source.name()
                    );
                    return Err(Error::new(ErrorKind::Unsupported, message));
                }
                Ok(opened) => return Ok(opened),
                Err(_) => return Ok(OpenResult::Lost),
            }
        }
        Ok(OpenResult::Refused)
    }
}
