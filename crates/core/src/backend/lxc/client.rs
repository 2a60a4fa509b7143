//! HTTP to the engine.

use std::io;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_util::task::AbortOnDropHandle;

use super::busy;
use super::ignore_write_errors::{IgnoreWriteErrors, Socket};
use super::transport::{Stream, Transport};
use super::wire::{Envelope, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EngineKind};

/// How long an answer may take that doesn't wait for work to be done.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an operation may take that downloads: an image over a slow line.
pub(super) const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(3600);
/// How long any other operation may take. On a pool that copies everything that is minutes.
const WORK_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the engine holds one request that waits for an operation.
const WAIT_ROUND: Duration = Duration::from_secs(600);
/// Status codes of the engines' operations from here on are ends: 200 success, 400 failure, 401
/// cancelled.
pub(super) const ENDED: u16 = 200;

/// Where an engine is, and how to ask it.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: EngineId,
    pub(super) transport: Transport,
}

/// A body that is sent or received in pieces.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// An answer whose body is still to be read. The connection lives as long as the value.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) connection: AbortOnDropHandle<()>,
}

/// A body of these bytes.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

impl Client {
    pub(super) fn new(id: EngineId, transport: Transport) -> Self {
        Self { id, transport }
    }

    pub(super) fn kind(&self) -> EngineKind {
        self.id.kind
    }

    /// Asks for an object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let envelope = self.request("GET", path, None, ANSWER_TIMEOUT).await?;
        serde_json::from_value(envelope.metadata).map_err(|error| self.garbled(path, error))
    }

    /// Asks for a change and returns the answer, which may name an operation.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Envelope> {
        self.request(method, path, Some(body), ANSWER_TIMEOUT).await
    }

    /// Asks for a change and waits until it is done.
    pub(super) async fn change(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<()> {
        busy::wait_out(|| self.change_once(method, path, body)).await
    }

    async fn change_once(&self, method: &str, path: &str, body: &serde_json::Value) -> Result<()> {
        let envelope = self.send(method, path, body).await?;
        match envelope.kind.as_str() {
            "async" => self.wait(&envelope.operation, WORK_TIMEOUT).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Waits for an operation, and says how it ended.
    pub(super) async fn wait(&self, operation: &str, timeout: Duration) -> Result<Operation> {
        let ended = tokio::time::timeout(timeout, self.wait_for_end(operation)).await;
        let done = ended.map_err(|_| {
            let minutes = timeout.as_secs() / 60;
            let message = format!(
                "{} hasn't ended its work within {minutes} minutes",
                self.kind()
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
                .request("GET", &path, None, WAIT_ROUND + ANSWER_TIMEOUT)
                .await;
            let metadata = match asked {
                Ok(envelope) => envelope.metadata,
                // Incus answers with the operation's error; the operation itself tells more.
                Err(error) => match self.request("GET", bare, None, ANSWER_TIMEOUT).await {
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
        timeout: Duration,
    ) -> Result<Envelope> {
        tracing::debug!(engine = %self.kind(), method, path, "request");
        let exchange = self.exchange(method, path, body);
        let (status, bytes) = match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.silent(timeout)),
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
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = self.build(
            method,
            path,
            &[("content-type", "application/json")],
            whole(body),
        )?;
        let (mut sender, connection) = self.handshake().await?;
        let lost = |error| self.lost(error);
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

    /// Asks with a body and an answer that may be large. The answer begins within the usual time;
    /// how long its body takes is the caller's to say.
    ///
    /// # Errors
    /// Those of any request, with the engine's message where it sent one.
    pub(super) async fn stream(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
        timeout: Duration,
    ) -> Result<Answer> {
        let request = self.build(method, path, headers, body)?;
        let (mut sender, connection) = self.handshake().await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What breaks here breaks the answer too, which tells.
            let _ = connection.await;
        }));
        let asked = tokio::time::timeout(timeout, sender.send_request(request)).await;
        let response = asked
            .map_err(|_| self.silent(timeout))?
            .map_err(|error| self.lost(error))?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let bytes = tokio::time::timeout(ANSWER_TIMEOUT, response.into_body().collect()).await;
            let bytes = bytes
                .map_err(|_| self.silent(ANSWER_TIMEOUT))?
                .map_err(|error| self.lost(error))?;
            let envelope = serde_json::from_slice(&bytes.to_bytes());
            let envelope = envelope.map_err(|error| self.garbled(path, error))?;
            return Err(self.refusal(status, &envelope));
        }
        Ok(Answer {
            response,
            connection,
        })
    }

    fn build(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Request<Body>> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.with_project(path))
            .header(header::HOST, self.transport.authority());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .body(body)
            .map_err(|error| Error::new(ErrorKind::Internal, "bad request").caused_by(error))
    }

    async fn handshake(&self) -> Result<(SendRequest<Body>, Connection<TokioIo<Stream>, Body>)> {
        let stream = self.transport.connect(&self.id).await?;
        http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.lost(error))
    }

    fn lost(&self, error: hyper::Error) -> Error {
        Error::new(
            ErrorKind::Unreachable,
            format!("{} closed the connection", self.kind()),
        )
        .with_hint(DOCTOR_HINT)
        .caused_by(error)
    }

    fn silent(&self, timeout: Duration) -> Error {
        let message = format!(
            "{} gave no answer within {} s",
            self.kind(),
            timeout.as_secs()
        );
        Error::new(ErrorKind::Timeout, message).with_hint(DOCTOR_HINT)
    }

    /// Opens a websocket.
    pub(super) async fn websocket(&self, path: &str) -> Result<Socket> {
        let stream = self.transport.connect(&self.id).await?;
        let url = format!(
            "{}://{}{}",
            self.transport.websocket_scheme(),
            self.transport.authority(),
            self.with_project(path)
        );
        let handshake = tokio_tungstenite::client_async(url, IgnoreWriteErrors(stream));
        match tokio::time::timeout(ANSWER_TIMEOUT, handshake).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(self.no_websocket(error)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("{} opens no websocket in time", self.kind()),
            )),
        }
    }

    fn no_websocket(&self, error: WebSocketError) -> Error {
        let kind = match &error {
            WebSocketError::Http(answer) if matches!(answer.status().as_u16(), 401 | 403) => {
                ErrorKind::PermissionDenied
            }
            _ => ErrorKind::Engine,
        };
        let message = format!("{} opens no websocket", self.kind());
        self.with_refused_hint(Error::new(kind, message).caused_by(error))
    }

    fn with_project(&self, path: &str) -> String {
        // Paths of operations come from the engine with their own query.
        if self.id.project.is_default() || path.contains("project=") {
            return path.to_owned();
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        format!(
            "{path}{separator}project={}",
            super::image::url_part(self.id.project.as_str())
        )
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
        self.with_refused_hint(self.failure(kind, &envelope.error))
    }

    /// Says how to be trusted, to a user whom a remote has refused.
    fn with_refused_hint(&self, error: Error) -> Error {
        let hint = self.transport.refused_hint(self.kind());
        match hint.filter(|_| error.kind() == ErrorKind::PermissionDenied) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    pub(super) fn failure(&self, kind: ErrorKind, message: &str) -> Error {
        // Older engines can't do it for every filesystem of the host.
        if message.contains(NO_IDMAP) {
            let text = format!(
                "{} can't show a directory of this host to a guest",
                self.kind()
            );
            return Error::new(ErrorKind::Unsupported, text)
                .with_hint("take the `mounts:` out of containers.yaml, or use a newer engine")
                .caused_by(message);
        }
        let error = Error::new(kind, format!("{}: {message}", self.kind()));
        match crate::backend::is_full(message) {
            true => error.with_hint(crate::backend::FULL_HINT),
            false => error,
        }
    }

    fn garbled(&self, path: &str, error: serde_json::Error) -> Error {
        let message = format!("{}'s answer to {path} can't be read", self.kind());
        Error::new(ErrorKind::Engine, message).caused_by(error)
    }
}

/// What the engines say where the owners of a mount's files can't be mapped.
const NO_IDMAP: &str = "idmapping abilities";
const DOCTOR_HINT: &str = "see what is the matter: `lxc-dev-manager doctor`";
