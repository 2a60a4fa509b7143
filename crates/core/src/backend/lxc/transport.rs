//! The way to an engine: a Unix socket on this machine, or HTTPS to a remote.

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

use super::tls::is_wrong_certificate;
use crate::error::{Error, ErrorKind, ErrorReport, Result};
use crate::model::{EngineId, EngineKind};

/// How long a remote may take until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long of silence a remote is asked by the kernel whether it is still there, how often then, and after how many
/// questions without an answer it is gone: a stream of events may be silent for days, and a laptop that slept has lost
/// connections of which no end arrives.
const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// An open connection to an engine.
pub(super) type Stream = Either<UnixStream, TlsStream<TcpStream>>;

/// Where an engine answers.
#[derive(Clone)]
pub(super) enum Transport {
    /// On this machine.
    Socket(PathBuf),
    /// On any machine, over HTTPS.
    Remote(Arc<Remote>),
    /// Nowhere: what its client is configured to can't be used. Whoever asks it is told why.
    Unusable(Arc<ErrorReport>),
}

/// An engine over HTTPS.
pub(super) struct Remote {
    /// The remote's name in the client's configuration.
    pub(super) name: String,
    /// Host name or address, bare.
    pub(super) host: String,
    pub(super) port: u16,
    /// Certificates of both sides.
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
            Self::Remote(remote) => match timeout(CONNECT_TIMEOUT, remote.connect()).await {
                Ok(Ok(stream)) => Ok(Either::Right(stream)),
                Ok(Err(error)) if is_wrong_certificate(error.as_ref()) => {
                    Err(remote.wrong_certificate(id, error))
                }
                Ok(Err(error)) => Err(remote.unreachable(id, error)),
                Err(_) => {
                    let seconds = CONNECT_TIMEOUT.as_secs();
                    Err(remote.unreachable(id, format!("no answer within {seconds} s").into()))
                }
            },
            Self::Unusable(why) => Err(Error::from(why.as_ref().clone())),
        }
    }

    /// Host and port of our requests, for HTTP.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Socket(_) | Self::Unusable(_) => "engine".to_owned(),
            Self::Remote(remote) if remote.host.contains(':') => {
                format!("[{}]:{}", remote.host, remote.port)
            }
            Self::Remote(remote) => format!("{}:{}", remote.host, remote.port),
        }
    }

    /// Scheme of websockets.
    pub(super) fn websocket_scheme(&self) -> &'static str {
        match self {
            Self::Socket(_) | Self::Unusable(_) => "ws",
            Self::Remote(_) => "wss",
        }
    }

    /// What to do where the engine answers that this user may not.
    pub(super) fn refused_hint(&self, kind: EngineKind) -> Option<String> {
        let Self::Remote(remote) = self else {
            return None;
        };
        let (client, name) = (client_of(kind), &remote.name);
        Some(format!(
            "have it trust your client: `{client} config trust add` there gives a token, for \
             `{client} remote add {name}` here"
        ))
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Remote {
    async fn connect(&self) -> Result<TlsStream<TcpStream>, Cause> {
        let server = ServerName::try_from(self.host.clone())?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
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

    fn wrong_certificate(&self, id: &EngineId, error: Cause) -> Error {
        let (client, name) = (client_of(id.kind), &self.name);
        let message = format!(
            "the server at {} doesn't show the certificate that is known of the remote `{name}`",
            id.address
        );
        // Somebody is there, and gets nothing of us.
        Error::new(ErrorKind::PermissionDenied, message)
            .with_hint(format!(
                "if it has a new one, have it noted anew: `{client} remote remove {name}`, then \
                 `{client} remote add {name} {}`",
                id.address
            ))
            .caused_by(error)
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let (silence, pause, questions) = ALIVE;
    sockopt::set_tcp_keepidle(stream, silence)?;
    sockopt::set_tcp_keepintvl(stream, pause)?;
    sockopt::set_tcp_keepcnt(stream, questions)?;
    sockopt::set_socket_keepalive(stream, true)?;
    // What was sent and isn't answered puts those questions off, and is repeated for a quarter of an hour otherwise.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, 60_000)?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::lxc::tls::{Identity, connector};
    use crate::model::EngineProject;

    async fn ask(port: u16) -> Error {
        let remote = Remote {
            name: "lab".to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            connector: connector(Identity::Nobody, None).unwrap(),
        };
        let id = EngineId {
            kind: EngineKind::Incus,
            address: format!("https://127.0.0.1:{port}"),
            project: EngineProject::default_one(),
        };
        let transport = Transport::Remote(Arc::new(remote));
        transport.connect(&id).await.map(drop).unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_that_says_nothing_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = ask(silent.local_addr().unwrap().port()).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let report = error.report();
        assert!(report.message.contains("no answer within"), "{report:?}");
        assert!(report.message.contains("`lab`"), "{report:?}");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_unreachable() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let error = ask(port).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.hint().unwrap().contains("incus info lab:"));
    }
}
