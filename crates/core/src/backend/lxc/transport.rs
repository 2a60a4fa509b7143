//! Connections to an engine: a Unix socket on this machine, or HTTPS to a remote.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

use super::tls::{Cause, is_wrong_certificate};
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{EngineId, EngineKind};

/// Limit of TCP connect and TLS handshake with a remote.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP keepalive to a remote: idle time, interval and number of probes. An event stream may be
/// silent for days, and a laptop that slept has dead connections without an end.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

pub(super) type Stream = Either<UnixStream, TlsStream<TcpStream>>;

#[derive(Clone)]
pub(super) enum Transport {
    Socket(PathBuf),
    Remote(Arc<Remote>),
    /// The client's configuration is invalid; every use fails with this error.
    Unusable(Arc<ErrorReport>),
}

/// An engine over HTTPS.
pub(super) struct Remote {
    /// As in the client's configuration.
    pub(super) name: String,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) connector: TlsConnector,
}

impl Transport {
    pub(super) async fn connect(&self, id: &EngineId) -> Result<Stream> {
        match self {
            Self::Socket(path) => UnixStream::connect(path)
                .await
                .map(Either::Left)
                .map_err(|error| unreachable(id, error)),
            Self::Remote(remote) => match timeout(CONNECT_TIMEOUT, remote.connect()).await {
                Ok(Ok(stream)) => Ok(Either::Right(stream)),
                Ok(Err(error)) if is_wrong_certificate(error.as_ref()) => {
                    Err(remote.wrong_certificate(id, error))
                }
                Ok(Err(error)) => Err(remote.unreachable(id, error)),
                Err(_) => {
                    let seconds = CONNECT_TIMEOUT.as_secs();
                    Err(remote.unreachable(id, format!("no response within {seconds} s").into()))
                }
            },
            Self::Unusable(why) => Err(Error::from(why.as_ref().clone())),
        }
    }

    /// Host and port for HTTP requests.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Socket(_) | Self::Unusable(_) => "engine".to_owned(),
            Self::Remote(remote) if remote.host.contains(':') => {
                format!("[{}]:{}", remote.host, remote.port)
            }
            Self::Remote(remote) => format!("{}:{}", remote.host, remote.port),
        }
    }

    pub(super) fn websocket_scheme(&self) -> &'static str {
        match self {
            Self::Socket(_) | Self::Unusable(_) => "ws",
            Self::Remote(_) => "wss",
        }
    }

    /// A hint for the case that the engine does not trust this user.
    pub(super) fn trust_hint(&self, kind: EngineKind) -> Option<String> {
        let Self::Remote(remote) = self else {
            return None;
        };
        let (client, name) = (client_command(kind), &remote.name);
        Some(format!(
            "trust this client: run `{client} config trust add` there, and use its token in \
             `{client} remote add {name}` here"
        ))
    }
}

impl Remote {
    async fn connect(&self) -> Result<TlsStream<TcpStream>, Cause> {
        let server = ServerName::try_from(self.host.clone())?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        Ok(self.connector.connect(server, stream).await?)
    }

    fn unreachable(&self, id: &EngineId, error: Cause) -> Error {
        let (client, name) = (client_command(id.kind), &self.name);
        let message = format!("remote `{name}` is not reachable at {}", id.address);
        Error::new(ErrorKind::Unreachable, message)
            .with_hint(format!("test the connection: `{client} info {name}:`"))
            .caused_by(error)
    }

    fn wrong_certificate(&self, id: &EngineId, error: Cause) -> Error {
        let (client, name) = (client_command(id.kind), &self.name);
        let message = format!(
            "the server at {} has another certificate than remote `{name}`",
            id.address
        );
        // Not `Unreachable`: a server responded.
        Error::new(ErrorKind::PermissionDenied, message)
            .with_hint(format!(
                "if it was renewed, add the remote again: `{client} remote remove {name}`, then \
                 `{client} remote add {name} {}`",
                id.address
            ))
            .caused_by(error)
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let (idle, interval, probes) = KEEPALIVE;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_keepcnt(stream, probes)?;
    sockopt::set_socket_keepalive(stream, true)?;
    // Unacknowledged data suppresses the probes, and would be resent for a quarter of an hour.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, 60_000)?;
    Ok(())
}

/// The engine's command-line client, for hints.
pub(super) fn client_command(kind: EngineKind) -> &'static str {
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
        let message = format!("no permission to use {kind} at {address}");
        return Error::new(ErrorKind::PermissionDenied, message)
            .with_hint(format!(
                "join the group `{group}` (equivalent to root):   \
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
        io::ErrorKind::NotFound => unreachable.caused_by("the socket does not exist"),
        io::ErrorKind::ConnectionRefused => unreachable.caused_by("connection refused"),
        _ => unreachable.caused_by(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::lxc::tls::{Identity, connector};
    use crate::model::EngineProject;

    async fn connect_error(port: u16) -> Error {
        let remote = Remote {
            name: "lab".to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            connector: connector(Identity::Anonymous, None).unwrap(),
        };
        let id = EngineId {
            kind: EngineKind::Incus,
            address: format!("https://127.0.0.1:{port}"),
            project: EngineProject::default_project(),
        };
        let transport = Transport::Remote(Arc::new(remote));
        transport.connect(&id).await.map(drop).unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_remote_times_out() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = connect_error(silent.local_addr().unwrap().port()).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let report = error.report();
        assert!(report.message.contains("no response within"), "{report:?}");
        assert!(report.message.contains("`lab`"), "{report:?}");
    }

    #[tokio::test]
    async fn closed_port_is_unreachable() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let error = connect_error(port).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.hint().unwrap().contains("incus info lab:"));
    }
}
