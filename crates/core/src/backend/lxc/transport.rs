//! The way to an engine: a Unix socket on this machine, or HTTPS to a remote.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EngineKind};

/// How long a remote may take until a connection stands.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// An open connection to an engine.
pub(super) type Stream = Either<UnixStream, TlsStream<TcpStream>>;

/// Where an engine answers.
#[derive(Clone)]
pub(super) enum Transport {
    /// On this machine.
    Socket(PathBuf),
    /// On another one.
    Remote(Arc<Remote>),
}

/// An engine over HTTPS, with the user's own client certificate.
pub(super) struct Remote {
    /// The remote's name in the client's configuration.
    pub(super) name: String,
    /// Host name or address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) connector: TlsConnector,
}

impl Transport {
    /// Opens a connection.
    pub(super) async fn connect(&self, id: &EngineId) -> Result<Stream> {
        match self {
            Self::Socket(path) => UnixStream::connect(path)
                .await
                .map(Either::Left)
                .map_err(|error| unreachable(id, error)),
            Self::Remote(remote) => match timeout(CONNECT_PATIENCE, remote.connect()).await {
                Ok(Ok(stream)) => Ok(Either::Right(stream)),
                Ok(Err(error)) => Err(remote.unreachable(id, error)),
                Err(_) => Err(remote.unreachable(id, "no answer".into())),
            },
        }
    }

    /// Host of our requests, for HTTP.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Socket(_) => "engine",
            Self::Remote(remote) => &remote.host,
        }
    }

    /// Scheme of websockets.
    pub(super) fn websocket_scheme(&self) -> &'static str {
        match self {
            Self::Socket(_) => "ws",
            Self::Remote(_) => "wss",
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Remote {
    async fn connect(&self) -> Result<TlsStream<TcpStream>, Cause> {
        let server = ServerName::try_from(self.host.clone())?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(self.connector.connect(server, stream).await?)
    }

    fn unreachable(&self, id: &EngineId, error: Cause) -> Error {
        let (client, name) = (client_of(id.kind), &self.name);
        let message = format!("the remote `{name}` is not reachable at {}", id.address);
        Error::new(ErrorKind::Unreachable, message)
            .with_hint(format!(
                "see whether its own client reaches it: `{client} info {name}:`"
            ))
            .caused_by(error)
    }
}

/// The engine's own command-line client, for hints.
pub(super) fn client_of(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Lxd => "lxc",
        _ => "incus",
    }
}

fn unreachable(id: &EngineId, error: io::Error) -> Error {
    let EngineId { kind, address, .. } = id;
    if error.kind() == io::ErrorKind::PermissionDenied {
        let group = match kind {
            EngineKind::Lxd => "lxd",
            _ => "incus-admin",
        };
        let message = format!("no permission to talk to {kind} at {address}");
        return Error::new(ErrorKind::PermissionDenied, message)
            .with_hint(format!(
                "join the group `{group}` (as good as root): \
                 `sudo usermod -aG {group} $USER`, then log in again"
            ))
            .caused_by(error);
    }
    let unit = match kind {
        EngineKind::Lxd => "lxd",
        _ => "incus",
    };
    let unreachable = Error::new(
        ErrorKind::Unreachable,
        format!("{kind} is not reachable at {address}"),
    )
    .with_hint(format!("start it: `sudo systemctl start {unit}`"));
    match error.kind() {
        io::ErrorKind::NotFound => unreachable.caused_by("there is no such socket"),
        io::ErrorKind::ConnectionRefused => unreachable.caused_by("nobody listens there"),
        _ => unreachable.caused_by(error),
    }
}
