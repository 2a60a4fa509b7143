//! What is said on the control socket.

use serde::{Deserialize, Serialize};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec};

use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::forward::{FocusRequest, Scope};
use crate::model::HostPort;
use crate::view::{Action, FocusMove, ForwardView, ViewEvent};

/// The longest line that the app takes, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// The longest line that the app sends: one env with all its snapshots.
pub(super) const MAX_REPLY: usize = 8 * 1024 * 1024;

/// Version of the protocol. Another one is refused.
const VERSION: u32 = 1;

/// Who is on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The process with the tray.
    App,
    /// The process with the window.
    Window,
    /// The command line.
    Cli,
}

/// The first line of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub v: u32,
    /// Who speaks.
    pub role: Role,
    /// Version of the program, for people.
    pub version: String,
}

/// A request with a number that its reply carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Send the view, and then what changes, as [`Reply::Event`]s.
    Watch,
    /// Do something; the reply comes when it is done.
    Act {
        /// What.
        #[serde(rename = "do")]
        action: Action,
    },
    /// Show the window.
    ShowWindow,
    /// Forward these ports for as long as this connection lasts; what is forwarded comes as
    /// [`Reply::Forwarded`], now and at each change.
    Lease {
        /// Which.
        scope: Scope,
    },
    /// Say what is forwarded, and what has passed.
    Forwards,
    /// Give an env the focus.
    Focus {
        /// Which, and how.
        #[serde(flatten)]
        focus: FocusRequest,
    },
    /// Give a port of this machine up.
    Release {
        /// Which.
        port: HostPort,
    },
    /// Let the asker answer here. Only a command does; whoever has a lease comes back by itself.
    StepDown,
    /// Be the window from now on. Where there is one already, that one comes to the front, and this
    /// fails with `AlreadyExists`.
    BeWindow,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// A request was carried out.
    Done {
        /// Whose.
        id: u64,
    },
    /// A request failed.
    Failed {
        /// Whose.
        id: u64,
        /// Why.
        error: ErrorReport,
    },
    /// What is forwarded.
    Forwards {
        /// Whose request this answers.
        id: u64,
        /// Each port of each env.
        forwards: Vec<ForwardView>,
    },
    /// The focus was moved.
    Moves {
        /// Whose request this answers.
        id: u64,
        /// Port by port.
        moves: Vec<FocusMove>,
    },
    /// To who has a lease: what is forwarded now.
    Forwarded {
        /// Each port of each env.
        forwards: Vec<ForwardView>,
    },
    /// The view changed.
    Event {
        /// How.
        event: ViewEvent,
    },
    /// To a window: come to the front.
    Raise,
}

impl Hello {
    /// The greeting of this build.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            v: VERSION,
            role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Whether this build understands the other side.
    ///
    /// # Errors
    /// `Unsupported`, naming both versions.
    pub fn check(&self) -> Result<()> {
        if self.v == VERSION {
            return Ok(());
        }
        let message = format!(
            "the other side speaks version {} of the protocol, not {VERSION}",
            self.v
        );
        Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("quit the app and start it again"))
    }
}

/// Lines from the other side.
pub(super) type Incoming = FramedRead<OwnedReadHalf, LinesCodec>;
/// Lines to the other side.
pub(super) type Outgoing = FramedWrite<OwnedWriteHalf, LinesCodec>;

pub(super) fn lines(stream: tokio::net::UnixStream, longest: usize) -> (Incoming, Outgoing) {
    let (reader, writer) = stream.into_split();
    (
        FramedRead::new(reader, LinesCodec::new_with_max_length(longest)),
        FramedWrite::new(writer, LinesCodec::new()),
    )
}

/// A value as one line.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "a message").caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_on_the_wire_is_the_documented_one() {
        let call = Call {
            id: 7,
            request: Request::ShowWindow,
        };
        assert_eq!(
            encode(&call).unwrap(),
            r#"{"id":7,"request":"show-window"}"#
        );
        let text = r#"{"id":1,"request":"act","do":{"action":"start",
            "env":{"project_path":"/p","env":"dev"}}}"#;
        let call: Call = serde_json::from_str(text).unwrap();
        assert!(matches!(
            call.request,
            Request::Act {
                action: Action::Start { .. }
            }
        ));
    }

    #[test]
    fn another_version_is_refused() {
        let hello = Hello {
            v: 2,
            ..Hello::new(Role::Window)
        };
        assert_eq!(hello.check().unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(Hello::new(Role::App).check().is_ok());
    }
}
