//! HTTP to the engine.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::io;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_util::task::AbortOnDropHandle;

use super::ignore_write_errors::{IgnoreWriteErrors, Socket};
use super::retry;
use super::transport::{Stream, Transport};
use super::wire::{Envelope, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EngineKind};

/// Limit of a request that does not wait for an operation.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of an operation that downloads an image.
pub(super) const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(3600);
/// Limit of other operations: pools without copy-on-write need minutes.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(600);
/// Shortest time between two questions for the end of an operation.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Longest time that the engine holds one request for an operation's end.
const LONG_POLL: Duration = Duration::from_secs(600);
/// Status codes of operations from here on are final: 200 success, 400 failure, 401 cancelled.
pub(super) const FIRST_FINAL_STATUS: u16 = 200;

/// An engine's address and transport.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: EngineId,
    pub(super) transport: Transport,
}

/// A request body, streamed or complete.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// A response with an unread body. The connection lives as long as the value.
pub(super) struct StreamedResponse {
    pub(super) response: Response<Incoming>,
    pub(super) connection: AbortOnDropHandle<()>,
}

pub(super) fn full_body(bytes: impl Into<Bytes>) -> Body {
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

    /// Fetches an object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let envelope = self.request("GET", path, None, RESPONSE_TIMEOUT).await?;
        serde_json::from_value(envelope.metadata)
            .map_err(|error| self.invalid_response(path, error))
    }

    /// Fetches a list; a cluster sends an empty one as `null`.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let list: Option<Vec<T>> = self.get(path).await?;
        Ok(list.unwrap_or_default())
    }

    /// Sends a change and returns the response, which may name an operation.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Envelope> {
        self.request(method, path, Some(body), RESPONSE_TIMEOUT)
            .await
    }

    /// Makes a change and waits for its end.
    pub(super) async fn change(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<()> {
        retry::while_busy(|| self.change_once(method, path, body)).await
    }

    async fn change_once(&self, method: &str, path: &str, body: &serde_json::Value) -> Result<()> {
        let envelope = self.send(method, path, body).await?;
        match envelope.kind.as_str() {
            "async" => self
                .wait(&envelope.operation, OPERATION_TIMEOUT)
                .await
                .map(drop),
            _ => Ok(()),
        }
    }

    /// Waits for an operation to succeed.
    pub(super) async fn wait(&self, operation: &str, timeout: Duration) -> Result<Operation> {
        let ended = tokio::time::timeout(timeout, self.wait_for_end(operation)).await;
        let operation = ended.map_err(|_| {
            let minutes = timeout.as_secs() / 60;
            let message = format!(
                "{} did not end an operation within {minutes} minutes",
                self.kind()
            );
            Error::new(ErrorKind::Timeout, message).with_hint(DOCTOR_HINT)
        })??;
        match operation.status_code {
            200 => Ok(operation),
            401 => Err(Error::new(
                ErrorKind::Cancelled,
                "the operation was cancelled",
            )),
            _ => Err(self.engine_error(ErrorKind::Engine, &operation.err)),
        }
    }

    /// Waits for an operation without a limit. A failed operation is a result, not an error.
    pub(super) async fn wait_for_end(&self, operation: &str) -> Result<Operation> {
        let bare = operation.split('?').next().unwrap_or(operation);
        let path = format!("{bare}/wait?timeout={}", LONG_POLL.as_secs());
        loop {
            let asked = Instant::now();
            let response = self
                .request("GET", &path, None, LONG_POLL + RESPONSE_TIMEOUT)
                .await;
            let metadata = match response {
                Ok(envelope) => envelope.metadata,
                // Incus responds with the operation's error; the operation itself has more details.
                Err(error) => match self.request("GET", bare, None, RESPONSE_TIMEOUT).await {
                    Ok(envelope) => envelope.metadata,
                    Err(_) if error.kind() == ErrorKind::NotFound => {
                        // The outcome is unknown.
                        return Err(
                            self.engine_error(ErrorKind::Timeout, "the engine lost the operation")
                        );
                    }
                    Err(_) => return Err(error),
                },
            };
            let operation: Operation = serde_json::from_value(metadata)
                .map_err(|error| self.invalid_response(&path, error))?;
            if operation.status_code >= FIRST_FINAL_STATUS {
                return Ok(operation);
            }
            // A failing proxy responds at once.
            tokio::time::sleep_until(asked + MIN_POLL_INTERVAL).await;
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
            Ok(response) => response?,
            Err(_) => return Err(self.no_response(timeout)),
        };
        let envelope: Envelope =
            serde_json::from_slice(&bytes).map_err(|error| self.invalid_response(path, error))?;
        if envelope.kind == "error" || status.is_client_error() || status.is_server_error() {
            return Err(self.error_response(status, &envelope));
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
        let request = self.build_request(
            method,
            path,
            &[("content-type", "application/json")],
            full_body(body),
        )?;
        let (mut sender, connection) = self.handshake().await?;
        let lost = |error| self.connection_lost(error);
        let response = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::pin!(response, connection);
        // The request drives its connection: no task outlives it.
        tokio::select! {
            biased;
            result = &mut response => result.map_err(lost),
            _ = &mut connection => response.await.map_err(lost),
        }
    }

    /// Fetches a text file of the engine, such as a log.
    pub(super) async fn text(&self, path: &str) -> Result<String> {
        let exchange = tokio::time::timeout(RESPONSE_TIMEOUT, self.exchange("GET", path, None));
        let (status, bytes) = exchange
            .await
            .map_err(|_| self.no_response(RESPONSE_TIMEOUT))??;
        if !status.is_success() {
            return Err(self.engine_error(ErrorKind::Engine, status.as_str()));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a body and returns a response, both of any size. `timeout` ends when the response
    /// begins.
    ///
    /// # Errors
    /// As for other requests, with the engine's message.
    pub(super) async fn stream(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
        timeout: Duration,
    ) -> Result<StreamedResponse> {
        let request = self.build_request(method, path, headers, body)?;
        let (mut sender, connection) = self.handshake().await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // The response reports the same error.
            let _ = connection.await;
        }));
        let response = tokio::time::timeout(timeout, sender.send_request(request)).await;
        let response = response
            .map_err(|_| self.no_response(timeout))?
            .map_err(|error| self.connection_lost(error))?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let bytes =
                tokio::time::timeout(RESPONSE_TIMEOUT, response.into_body().collect()).await;
            let bytes = bytes
                .map_err(|_| self.no_response(RESPONSE_TIMEOUT))?
                .map_err(|error| self.connection_lost(error))?;
            let envelope = serde_json::from_slice(&bytes.to_bytes());
            let envelope = envelope.map_err(|error| self.invalid_response(path, error))?;
            return Err(self.error_response(status, &envelope));
        }
        Ok(StreamedResponse {
            response,
            connection,
        })
    }

    fn build_request(
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
            .map_err(|error| Error::new(ErrorKind::Internal, "invalid request").caused_by(error))
    }

    async fn handshake(&self) -> Result<(SendRequest<Body>, Connection<TokioIo<Stream>, Body>)> {
        let stream = self.transport.connect(&self.id).await?;
        http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.connection_lost(error))
    }

    fn connection_lost(&self, error: hyper::Error) -> Error {
        Error::new(
            ErrorKind::Unreachable,
            format!("{} closed the connection", self.kind()),
        )
        .with_hint(DOCTOR_HINT)
        .caused_by(error)
    }

    fn no_response(&self, timeout: Duration) -> Error {
        let message = format!(
            "{} did not respond within {} s",
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
        match tokio::time::timeout(RESPONSE_TIMEOUT, handshake).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(self.websocket_error(error)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("{} did not open a websocket in time", self.kind()),
            )),
        }
    }

    fn websocket_error(&self, error: WebSocketError) -> Error {
        let kind = match &error {
            WebSocketError::Http(response) if matches!(response.status().as_u16(), 401 | 403) => {
                ErrorKind::PermissionDenied
            }
            _ => ErrorKind::Engine,
        };
        let message = format!("{} refused a websocket", self.kind());
        self.with_trust_hint(Error::new(kind, message).caused_by(error))
    }

    fn with_project(&self, path: &str) -> String {
        // The engine's paths of operations have their query.
        if self.id.project.is_default() || path.contains("project=") {
            return path.to_owned();
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        format!(
            "{path}{separator}project={}",
            super::client::url_part(self.id.project.as_str())
        )
    }

    fn error_response(&self, status: StatusCode, envelope: &Envelope) -> Error {
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
        self.with_trust_hint(self.engine_error(kind, &envelope.error))
    }

    /// Adds how to become trusted to a remote's refusal.
    fn with_trust_hint(&self, error: Error) -> Error {
        let hint = self.transport.trust_hint(self.kind());
        match hint.filter(|_| error.kind() == ErrorKind::PermissionDenied) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    pub(super) fn engine_error(&self, kind: ErrorKind, message: &str) -> Error {
        let error = Error::new(kind, format!("{}: {message}", self.kind()));
        if crate::backend::is_full(message) {
            error.with_hint(crate::backend::FULL_HINT)
        } else {
            error
        }
    }

    fn invalid_response(&self, path: &str, error: serde_json::Error) -> Error {
        let message = format!("invalid response of {} to `{path}`", self.kind());
        Error::new(ErrorKind::Engine, message).caused_by(error)
    }
}

const DOCTOR_HINT: &str = "find the cause: `lxc-dev-manager doctor`";

const URL_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes a name as one part of a URL.
pub(super) fn url_part(text: &str) -> String {
    utf8_percent_encode(text, URL_PART).to_string()
}
