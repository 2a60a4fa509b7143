//! HTTP over the engine's Unix socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

use super::wire::{Envelope, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EngineProject};

/// How long an answer may take that doesn't wait for work to be done.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long an operation may take that downloads: an image over a slow line.
pub(super) const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(3600);
/// How long any other operation may take. On a pool that copies everything that is minutes.
const WORK_PATIENCE: Duration = Duration::from_secs(600);
/// How long the engine holds one request that waits for an operation.
const WAIT_ROUND: Duration = Duration::from_secs(600);
/// Status codes of the engines' operations from here on are ends: 200 success, 400 failure, 401
/// cancelled.
pub(super) const ENDED: u16 = 200;

/// Where an engine is, and how to ask it.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) kind: EngineKind,
    pub(super) socket: PathBuf,
    project: EngineProject,
}

impl Client {
    pub(super) fn new(kind: EngineKind, socket: PathBuf, project: EngineProject) -> Self {
        Self {
            kind,
            socket,
            project,
        }
    }

    /// Asks for an object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let envelope = self.request("GET", path, None, ANSWER_PATIENCE).await?;
        serde_json::from_value(envelope.metadata).map_err(|error| self.garbled(path, error))
    }

    /// Asks for a change and returns the answer, which may name an operation.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Envelope> {
        self.request(method, path, Some(body), ANSWER_PATIENCE)
            .await
    }

    /// Asks for a change and waits until it is done.
    pub(super) async fn change(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<()> {
        let envelope = self.send(method, path, body).await?;
        match envelope.kind.as_str() {
            "async" => self
                .wait(&envelope.operation, WORK_PATIENCE)
                .await
                .map(drop),
            _ => Ok(()),
        }
    }

    /// Waits for an operation, and says how it ended.
    pub(super) async fn wait(&self, operation: &str, patience: Duration) -> Result<Operation> {
        let ended = timeout(patience, self.wait_for_end(operation)).await;
        let done = ended.map_err(|_| {
            let minutes = patience.as_secs() / 60;
            let message = format!(
                "{} hasn't ended its work within {minutes} minutes",
                self.kind
            );
            Error::new(ErrorKind::Timeout, message).with_hint(DOCTOR_HINT)
        })??;
        match done.status_code {
            200 => Ok(done),
            401 => Err(Error::new(
                ErrorKind::Cancelled,
                "the operation was cancelled",
            )),
            _ => Err(self.failure(ErrorKind::Engine, &done.err)),
        }
    }

    /// Waits for an operation, as long as it takes; one that failed is an answer too.
    pub(super) async fn wait_for_end(&self, operation: &str) -> Result<Operation> {
        let bare = operation.split('?').next().unwrap_or(operation);
        let path = format!("{bare}/wait?timeout={}", WAIT_ROUND.as_secs());
        loop {
            let asked = self
                .request("GET", &path, None, WAIT_ROUND + ANSWER_PATIENCE)
                .await;
            let metadata = match asked {
                Ok(envelope) => envelope.metadata,
                // Incus answers with the operation's error; the operation itself tells more.
                Err(error) => match self.request("GET", bare, None, ANSWER_PATIENCE).await {
                    Ok(envelope) => envelope.metadata,
                    Err(_) if error.kind() == ErrorKind::NotFound => {
                        // Ended or not: the caller can't know.
                        return Err(self.failure(ErrorKind::Timeout, "it has lost the operation"));
                    }
                    Err(_) => return Err(error),
                },
            };
            let found: Operation =
                serde_json::from_value(metadata).map_err(|error| self.garbled(&path, error))?;
            if found.status_code >= ENDED {
                return Ok(found);
            }
        }
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
        patience: Duration,
    ) -> Result<Envelope> {
        tracing::debug!(engine = %self.kind, method, path, "request");
        let exchange = self.exchange(method, path, body);
        let (status, bytes) = match timeout(patience, exchange).await {
            Ok(answer) => answer?,
            Err(_) => {
                let message = format!(
                    "{} gave no answer within {} s",
                    self.kind,
                    patience.as_secs()
                );
                return Err(Error::new(ErrorKind::Timeout, message).with_hint(DOCTOR_HINT));
            }
        };
        let envelope: Envelope =
            serde_json::from_slice(&bytes).map_err(|error| self.garbled(path, error))?;
        if envelope.kind == "error" || status.is_client_error() || status.is_server_error() {
            return Err(self.refusal(status, &envelope));
        }
        Ok(envelope)
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let stream = self.connect().await?;
        let lost = |error: hyper::Error| {
            Error::new(
                ErrorKind::Unreachable,
                format!("{} closed the connection", self.kind),
            )
            .with_hint(DOCTOR_HINT)
            .caused_by(error)
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(self.with_project(path))
            .header(header::HOST, "engine")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::new(ErrorKind::Internal, "bad request").caused_by(error))?;
        let answer = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::pin!(answer, connection);
        // The connection is driven here, by the request itself: no task is left behind.
        tokio::select! {
            biased;
            answered = &mut answer => answered.map_err(lost),
            _ = &mut connection => answer.await.map_err(lost),
        }
    }

    /// Opens a websocket.
    pub(super) async fn websocket(&self, path: &str) -> Result<WebSocketStream<UnixStream>> {
        let stream = self.connect().await?;
        let url = format!("ws://engine{}", self.with_project(path));
        let handshake = tokio_tungstenite::client_async(url, stream);
        match timeout(ANSWER_PATIENCE, handshake).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(Error::new(
                ErrorKind::Engine,
                format!("{} opens no websocket", self.kind),
            )
            .caused_by(error)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("{} opens no websocket in time", self.kind),
            )),
        }
    }

    async fn connect(&self) -> Result<UnixStream> {
        UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(error))
    }

    fn with_project(&self, path: &str) -> String {
        // Paths of operations come from the engine with their own query.
        if self.project.as_str() == "default" || path.contains("project=") {
            return path.to_owned();
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        format!(
            "{path}{separator}project={}",
            super::image::url_part(self.project.as_str())
        )
    }

    fn unreachable(&self, error: io::Error) -> Error {
        let socket = self.socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            let group = if self.kind == EngineKind::Lxd {
                "lxd"
            } else {
                "incus-admin"
            };
            let message = format!("no permission to talk to {} at {socket}", self.kind);
            return Error::new(ErrorKind::PermissionDenied, message)
                .with_hint(format!(
                    "join the group `{group}` (as good as root): \
                     `sudo usermod -aG {group} $USER`, then log in again"
                ))
                .caused_by(error);
        }
        let message = format!("{} is not reachable at {socket}", self.kind);
        let unit = if self.kind == EngineKind::Lxd {
            "lxd"
        } else {
            "incus"
        };
        let unreachable = Error::new(ErrorKind::Unreachable, message)
            .with_hint(format!("start it: `sudo systemctl start {unit}`"));
        match error.kind() {
            io::ErrorKind::NotFound => unreachable.caused_by("there is no such socket"),
            io::ErrorKind::ConnectionRefused => unreachable.caused_by("nobody listens there"),
            _ => unreachable.caused_by(error),
        }
    }

    fn refusal(&self, status: StatusCode, envelope: &Envelope) -> Error {
        let code = if envelope.error_code == 0 {
            status.as_u16()
        } else {
            envelope.error_code
        };
        let kind = match code {
            401 | 403 => ErrorKind::PermissionDenied,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::AlreadyExists,
            _ => ErrorKind::Engine,
        };
        self.failure(kind, &envelope.error)
    }

    pub(super) fn failure(&self, kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, format!("{}: {message}", self.kind))
    }

    fn garbled(&self, path: &str, error: serde_json::Error) -> Error {
        let message = format!("{}'s answer to {path} can't be read", self.kind);
        Error::new(ErrorKind::Engine, message).caused_by(error)
    }
}

const DOCTOR_HINT: &str = "see whether the engine is well: `lxc info` or `incus info`";
