//! Messages of the control socket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec, LinesCodecError};

use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::forward::{FocusRequest, Scope};
use crate::model::HostPort;
use crate::view::{Action, FocusMove, ForwardView, ViewEvent};

/// Limit of a line to the server.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Limit of a line from the server; the longest is an env with all its snapshots.
pub(super) const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;

pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that does not read a message in time loses the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Version of the protocol. 2: `stop` has `force`, an env has `actions`.
const VERSION: u32 = 2;

/// The kind of process at one end of a connection.
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

/// The first line in each direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub v: u32,
    pub role: Role,
    /// Version of the program, for messages.
    pub version: String,
}

/// A request with the id that its response carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client.
    pub id: u64,
    #[serde(flatten)]
    pub request: Request,
}

/// A request of a client; a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Send the view and its changes as [`Push::Event`]s.
    Watch,
    /// Carry out an action; the response follows when it has ended.
    Act {
        #[serde(rename = "do")]
        action: Action,
    },
    /// Allow these parts of a project's file, as they were shown to the user.
    Trust {
        path: String,
        parts: Vec<String>,
    },
    ShowWindow,
    /// Forward these ports while this connection lasts; sends [`Push::Forwards`] now and on changes.
    Lease {
        scope: Scope,
    },
    /// List forwards with their traffic.
    Forwards,
    /// Make an env the default target of its ports.
    Focus {
        #[serde(flatten)]
        focus: FocusRequest,
    },
    /// Stop listening on a port of this machine.
    Release {
        port: HostPort,
    },
    /// Release the control socket to the client. Only commands do; holders of leases reconnect.
    StepDown,
    /// Register this connection as the window. An existing window comes to the front instead, and the
    /// request fails with `AlreadyExists`.
    BeWindow,
}

/// A line from the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    Response {
        id: u64,
        #[serde(flatten)]
        response: Response,
    },
    Push(Push),
}

/// The response to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Response {
    Done,
    Failed {
        error: ErrorReport,
    },
    /// To [`Request::Forwards`].
    Forwards {
        forwards: Vec<ForwardView>,
    },
    /// To [`Request::Focus`], port by port.
    Moves {
        moves: Vec<FocusMove>,
    },
}

/// A message without a request.
/// The response to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Push {
    /// To a subscriber of [`Request::Watch`].
    Event { event: ViewEvent },
    /// To the holder of a lease: all forwards, now and on changes.
    #[serde(rename = "forwarded")]
    Forwards { forwards: Vec<ForwardView> },
    /// To the window: come to the front.
    Raise,
}

impl Hello {
    /// The hello of this build.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            v: VERSION,
            role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Checks the version of the protocol.
    ///
    /// # Errors
    /// `Unsupported` for another version.
    pub fn check(&self) -> Result<()> {
        if self.v == VERSION {
            return Ok(());
        }
        let message = format!(
            "unsupported protocol version {}: expected {VERSION}",
            self.v
        );
        Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("quit the app and start it again"))
    }
}

pub(super) type Incoming = FramedRead<OwnedReadHalf, LinesCodec>;
pub(super) type Outgoing = FramedWrite<OwnedWriteHalf, LinesCodec>;

pub(super) fn lines(stream: tokio::net::UnixStream, max_bytes: usize) -> (Incoming, Outgoing) {
    let (reader, writer) = stream.into_split();
    (
        FramedRead::new(reader, LinesCodec::new_with_max_length(max_bytes)),
        FramedWrite::new(writer, LinesCodec::new()),
    )
}

fn encode<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(ErrorKind::Internal, "cannot encode a message").caused_by(error)
    })
}

/// The next line; `None` at the end of the connection.
pub(super) async fn receive<T: DeserializeOwned>(incoming: &mut Incoming) -> Result<Option<T>> {
    let invalid = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Io, format!("invalid message: {error}"))
    };
    match incoming.next().await {
        None => Ok(None),
        Some(Err(error)) => Err(invalid(&error)),
        Some(Ok(line)) => serde_json::from_str(&line)
            .map(Some)
            .map_err(|error| invalid(&error)),
    }
}

pub(super) async fn send<T: Serialize>(outgoing: &mut Outgoing, value: &T) -> Result<()> {
    let line = encode(value)?;
    match tokio::time::timeout(SEND_TIMEOUT, outgoing.send(line)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::io("the connection is closed", io_error(error))),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "the peer is not reading")),
    }
}

fn io_error(error: LinesCodecError) -> std::io::Error {
    match error {
        LinesCodecError::Io(error) => error,
        too_long => std::io::Error::other(too_long),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_documented_format() {
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
    fn distinguishes_responses_from_pushes() {
        let done = r#"{"id":3,"reply":"done"}"#;
        let message: Message = serde_json::from_str(done).unwrap();
        let response = Response::Done;
        assert_eq!(message, Message::Response { id: 3, response });
        assert_eq!(encode(&message).unwrap(), done);
        let raise: Message = serde_json::from_str(r#"{"reply":"raise"}"#).unwrap();
        assert_eq!(raise, Message::Push(Push::Raise));
        let forwarded: Message =
            serde_json::from_str(r#"{"reply":"forwarded","forwards":[]}"#).unwrap();
        assert!(matches!(forwarded, Message::Push(Push::Forwards { .. })));
    }

    #[test]
    fn rejects_other_protocol_versions() {
        let hello = Hello {
            v: VERSION + 1,
            ..Hello::new(Role::Window)
        };
        assert_eq!(hello.check().unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(Hello::new(Role::App).check().is_ok());
    }
}
