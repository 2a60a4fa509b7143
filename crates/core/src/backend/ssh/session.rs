//! One SSH session, over the streams of a command in a guest or over TCP.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use russh::client::{self, DisconnectReason, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelOpenFailure, ChannelStream, Limits, Preferred, cipher};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Access, no_server, strip_comment};
use crate::backend::{Backend, Channel, ExecIo, ExecSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::local_tcp;
use crate::model::{GuestPort, InstanceName};

/// Runs the server.
const SERVE: &str = include_str!("serve.sh");
/// Exists until the guest's systemd allows logins of other users than root.
const NOLOGIN_FILE: &str = "/run/nologin";
/// Exit code of [`SERVE`] without an SSH server.
const NO_SERVER: i32 = 127;
const PIPE_BYTES: usize = 256 * 1024;
/// The library reads a packet's length and then the packet, so reads are buffered.
const READ_BUFFER_BYTES: usize = 128 * 1024;
/// Packets (at most 32 KiB) buffered per channel before its session blocks.
pub(super) const CHANNEL_BUFFER_PACKETS: usize = 512;
/// Time without a channel after which a session ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_STDERR_BYTES: u64 = 4096;

/// Fastest first: most processors have AES instructions.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
];

/// Bytes after which we renew the keys, per direction. The server does so earlier. If we do, packets in flight end the
/// session in this library once they exceed twice one channel's window.
const REKEY_BYTES: usize = 32 << 30;
const REKEY_INTERVAL: Duration = Duration::from_secs(30 * 24 * 3600);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const MAX_MISSED_KEEPALIVES: usize = 3;

/// Result of opening a channel.
pub(in crate::backend) enum OpenResult {
    Channel(Box<dyn Channel>),
    /// Nothing is listening.
    Refused,
    /// The server does not allow forwarding.
    Forbidden,
    /// The session has ended, or is not responding.
    Lost,
}

/// An authenticated session.
pub(in crate::backend) struct Session {
    handle: watch::Sender<Option<Arc<Handle<Server>>>>,
    /// Number of channels.
    users: watch::Sender<usize>,
    _idle: AbortOnDropHandle<()>,
}

/// The command that runs the server, and its stderr.
struct Command {
    task: AbortOnDropHandle<Result<i32>>,
    stderr: DuplexStream,
}

impl Session {
    /// Starts the server and logs in.
    ///
    /// # Errors
    /// `Unsupported` without a server; `PermissionDenied` for a wrong host key or a rejected key.
    pub(super) async fn start(
        backend: &Arc<dyn Backend>,
        name: &InstanceName,
        access: &Access,
        keys: Vec<String>,
    ) -> Result<Self> {
        let key = load_key(&access.key)?;
        let (stream, command) = spawn_server(backend.clone(), name.clone());
        let server = Server { keys: Some(keys) };
        let connected = connect(stream, server).await;
        let handle = match connected {
            Ok(handle) => handle,
            Err(russh::Error::UnknownKey) => {
                let message = format!(
                    "the host key of the SSH server of `{name}` does not match its key files"
                );
                return Err(Error::new(ErrorKind::PermissionDenied, message));
            }
            Err(error) => return Err(command.explain(name, error).await),
        };
        match log_in(handle, access.user.as_str(), key).await {
            Ok(Some(handle)) => {
                // The server ends with the session, which ends with its last channel.
                tokio::spawn(command.task);
                Ok(Self::of(handle))
            }
            Ok(None) => Err(login_rejected(backend.as_ref(), name, access).await),
            Err(error) => Err(command.explain(name, error).await),
        }
    }

    /// Logs in to a server over TCP, without checking its host key.
    ///
    /// # Errors
    /// `Config` for an unreadable key, `PermissionDenied` for a rejected one, `Unreachable` without an SSH server.
    pub(in crate::backend) async fn connect_tcp(
        stream: TcpStream,
        user: &str,
        key: &Path,
    ) -> Result<Self> {
        let failed = |error: russh::Error| {
            Error::new(ErrorKind::Unreachable, "cannot open an SSH session").caused_by(error)
        };
        let key = load_key(key)?;
        local_tcp::disable_pacing(&stream);
        // Otherwise a connection's first bytes are delayed by 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let handle = connect(stream, Server { keys: None }).await;
        let session = log_in(handle.map_err(failed)?, user, key).await;
        session.map_err(failed)?.map(Self::of).ok_or_else(|| {
            let message = format!("the guest rejects Lima's key for `{user}`");
            Error::new(ErrorKind::PermissionDenied, message)
        })
    }

    fn of(handle: Handle<Server>) -> Self {
        let (handle, _) = watch::channel(Some(Arc::new(handle)));
        let users = watch::Sender::new(0);
        let idle = end_when_idle(handle.clone(), users.subscribe());
        Self {
            handle,
            users,
            _idle: AbortOnDropHandle::new(tokio::spawn(idle)),
        }
    }

    /// Opens a channel for a command; the guard keeps the session alive.
    pub(in crate::backend) async fn command(&self) -> Result<(russh::Channel<Msg>, SessionUse)> {
        let user = SessionUse::new(self.users.clone());
        let lost = || Error::new(ErrorKind::Unreachable, "the SSH session has ended");
        let handle = self.handle.borrow().clone().ok_or_else(lost)?;
        let opened = handle.channel_open_session().await;
        opened
            .map(|channel| (channel, user))
            .map_err(|error| lost().caused_by(error))
    }

    /// Whether channels can be opened.
    pub(in crate::backend) fn is_open(&self) -> bool {
        let handle = self.handle.borrow();
        handle.as_ref().is_some_and(|handle| !handle.is_closed())
    }

    /// Opens a channel to a port of an address in the guest.
    pub(in crate::backend) async fn open(&self, target: &str, port: GuestPort) -> OpenResult {
        let user = SessionUse::new(self.users.clone());
        let Some(handle) = self.handle.borrow().clone() else {
            return OpenResult::Lost;
        };
        let opened = handle
            .channel_open_direct_tcpip(target, port.get().into(), "127.0.0.1", 0)
            .await;
        match opened {
            Ok(channel) => OpenResult::Channel(Box::new(CountedChannel {
                stream: channel.into_stream(),
                _user: user,
            })),
            Err(russh::Error::ChannelOpenFailure(reason)) => match reason {
                ChannelOpenFailure::ConnectFailed => OpenResult::Refused,
                ChannelOpenFailure::AdministrativelyProhibited => OpenResult::Forbidden,
                _ => OpenResult::Lost,
            },
            Err(error) => {
                tracing::debug!(%error, "cannot open a channel");
                OpenResult::Lost
            }
        }
    }
}

/// Ends the session after it has been idle.
async fn end_when_idle<T>(handle: watch::Sender<Option<T>>, mut users: watch::Receiver<usize>) {
    loop {
        if users.wait_for(|users| *users == 0).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(IDLE_TIMEOUT) => break,
            used = users.wait_for(|users| *users > 0) => drop(used),
        }
    }
    handle.send_replace(None);
}

/// Starts the server; returns its stdin and stdout as one stream.
fn spawn_server(
    backend: Arc<dyn Backend>,
    name: InstanceName,
) -> (
    impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    Command,
) {
    let (client, server_end) = duplex(PIPE_BYTES);
    let (stdin, stdout) = tokio::io::split(server_end);
    let (errors, stderr) = duplex(PIPE_BYTES);
    let spec = ExecSpec::new(["sh", "-c", SERVE, "sh"]);
    let task = tokio::spawn(async move {
        let io = ExecIo::new(stdin, stdout, errors);
        backend.exec(&name, &spec, io).await
    });
    let task = AbortOnDropHandle::new(task);
    (client, Command { task, stderr })
}

impl Command {
    /// Explains its end, with its last line of stderr.
    async fn explain(self, name: &InstanceName, error: russh::Error) -> Error {
        let mut words = String::new();
        let (ended, _) = tokio::join!(self.task, async {
            // Ignores output that is not text.
            let _ = self
                .stderr
                .take(MAX_STDERR_BYTES)
                .read_to_string(&mut words)
                .await;
        });
        match ended {
            Ok(Ok(NO_SERVER)) => no_server(name),
            Ok(Err(error)) => error,
            _ => {
                let message = format!("the SSH server of `{name}` has failed");
                let error = Error::new(ErrorKind::Unsupported, message).caused_by(error);
                match words.lines().rfind(|line| !line.trim().is_empty()) {
                    Some(line) => error.with_hint(format!("its output: {}", line.trim())),
                    None => error,
                }
            }
        }
    }
}

async fn login_rejected(backend: &dyn Backend, name: &InstanceName, access: &Access) -> Error {
    let user = &access.user;
    if backend.read_file(name, NOLOGIN_FILE).await.is_ok() {
        let message = format!("`{name}` is still starting and does not accept logins yet");
        return Error::new(ErrorKind::Guest, message);
    }
    let message = format!("the SSH server of `{name}` rejects the key of `{user}`");
    Error::new(ErrorKind::PermissionDenied, message).with_hint(format!(
        "append {}.pub to ~/.ssh/authorized_keys of `{user}` in the env",
        access.key.display()
    ))
}

/// Opens an unauthenticated session.
async fn connect(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    server: Server,
) -> Result<Handle<Server>, russh::Error> {
    let stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
    client::connect_stream(config(), stream, server).await
}

fn config() -> Arc<client::Config> {
    Arc::new(client::Config {
        channel_buffer_size: CHANNEL_BUFFER_PACKETS,
        preferred: Preferred {
            cipher: Cow::Borrowed(CIPHERS),
            ..Preferred::DEFAULT
        },
        limits: Limits {
            rekey_read_limit: REKEY_BYTES,
            rekey_write_limit: REKEY_BYTES,
            rekey_time_limit: REKEY_INTERVAL,
        },
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: MAX_MISSED_KEEPALIVES,
        ..client::Config::default()
    })
}

fn load_key(path: &Path) -> Result<PrivateKey> {
    load_secret_key(path, None).map_err(|error| {
        let message = format!("cannot read {}", path.display());
        Error::new(ErrorKind::Config, message).caused_by(error)
    })
}

/// Authenticates; `None` if the key is rejected.
async fn log_in(
    mut handle: Handle<Server>,
    user: &str,
    key: PrivateKey,
) -> Result<Option<Handle<Server>>, russh::Error> {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let answer = handle.authenticate_publickey(user, key).await?;
    Ok(answer.success().then_some(handle))
}

/// The expected host keys; `None` accepts any.
pub(in crate::backend) struct Server {
    keys: Option<Vec<String>>,
}

impl client::Handler for Server {
    type Error = russh::Error;

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => {
                tracing::debug!(%error, "SSH session ended");
                Err(error)
            }
        }
    }

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        let Some(keys) = &self.keys else {
            return Ok(true);
        };
        let shown = key.to_openssh()?;
        Ok(strip_comment(&shown).is_some_and(|shown| keys.contains(&shown)))
    }
}

/// Keeps a session alive until it is dropped.
pub(in crate::backend) struct SessionUse(watch::Sender<usize>);

impl SessionUse {
    fn new(users: watch::Sender<usize>) -> Self {
        users.send_modify(|users| *users += 1);
        Self(users)
    }
}

impl Drop for SessionUse {
    fn drop(&mut self) {
        self.0.send_modify(|users| *users -= 1);
    }
}

/// A channel that keeps its session alive.
struct CountedChannel {
    stream: ChannelStream<Msg>,
    _user: SessionUse,
}

impl AsyncRead for CountedChannel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedChannel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn session_ends_after_idle_timeout() {
        let (handle, mut session) = watch::channel(Some(()));
        let users = watch::Sender::new(0);
        let first = SessionUse::new(users.clone());
        let idle = tokio::spawn(end_when_idle(handle, users.subscribe()));
        tokio::time::sleep(IDLE_TIMEOUT * 10).await;
        assert!(session.borrow().is_some(), "ended while in use");
        drop(first);
        tokio::time::sleep(IDLE_TIMEOUT / 2).await;
        let second = SessionUse::new(users.clone());
        tokio::time::sleep(IDLE_TIMEOUT * 10).await;
        assert!(session.borrow().is_some(), "ended while in use again");
        drop(second);
        session.wait_for(Option::is_none).await.unwrap();
        idle.await.unwrap();
    }

    #[tokio::test]
    async fn rejects_unknown_host_keys() {
        const KEY: &str =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let key = russh::keys::PublicKey::from_openssh(&format!("{KEY} root@dev")).unwrap();
        let shown = PublicKeyOrCertificate::PublicKey {
            key,
            hash_alg: None,
        };
        for (keys, taken) in [(vec![KEY.to_owned()], true), (vec![], false)] {
            let mut server = Server { keys: Some(keys) };
            let answer = client::Handler::check_server_key(&mut server, &shown).await;
            assert_eq!(answer.unwrap(), taken);
        }
    }
}
