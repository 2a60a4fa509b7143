//! One SSH session, on the streams of a command in a guest.

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

use super::{Access, bare, no_server};
use crate::backend::{Backend, Channel, ExecIo, ExecSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::local_tcp;
use crate::model::{GuestPort, InstanceName};

/// Becomes the server.
const SERVE: &str = include_str!("serve.sh");
/// There until a guest's systemd lets others in than root.
const BOOTING: &str = "/run/nologin";
/// Its exit code where there is none.
const MISSING: i32 = 127;
/// Bytes on their way between the session and the command.
const BUFFER: usize = 256 * 1024;
/// Bytes that are read from a server at once: the library asks for a packet's length, and then for the packet.
const READ_AHEAD: usize = 128 * 1024;
/// Packets of at most 32 KiB that wait for a reader before its session does.
pub(super) const WAITING: usize = 512;
/// How long a session stays without a channel.
const IDLE: Duration = Duration::from_secs(30);
/// How much of what a server complains of is kept.
const WORDS: u64 = 4096;

/// Ciphers, the quickest first: every processor that a guest is likely to run on has instructions for AES.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
];

/// How much one key of ours may carry, in each direction. The server asks for another one by the bounds of the cipher, and
/// earlier. When we ask, what is on its way to us meanwhile ends the session in this library, if it is more than twice the
/// window of one channel: a few busy channels are enough.
const KEY_BYTES: usize = 32 << 30;
/// How long one key of ours may be used.
const KEY_TIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often we ask whether a silent server is there, and how often it may not answer.
const ALIVE: Duration = Duration::from_secs(15);
const ALIVE_MISSED: usize = 3;

/// What became of a channel.
pub(in crate::backend) enum Opened {
    /// Bytes pass.
    Channel(Box<dyn Channel>),
    /// Nobody listens there.
    Refused,
    /// The server doesn't let anybody do it.
    Forbidden,
    /// The session has ended, or doesn't answer.
    Lost,
}

/// A session that has let us in.
pub(in crate::backend) struct Session {
    handle: watch::Sender<Option<Arc<Handle<Server>>>>,
    /// Number of channels.
    users: watch::Sender<usize>,
    _idle: AbortOnDropHandle<()>,
}

/// The command that is the server, and its last words.
struct Command {
    task: AbortOnDropHandle<Result<i32>>,
    stderr: DuplexStream,
}

impl Session {
    /// Starts the server and logs in.
    ///
    /// # Errors
    /// `Unsupported` where there is no server; `PermissionDenied` where its key is another one, or ours
    /// isn't taken.
    pub(super) async fn begin(
        backend: &Arc<dyn Backend>,
        name: &InstanceName,
        access: &Access,
        keys: Vec<String>,
    ) -> Result<Self> {
        let key = our_key(&access.key)?;
        let (stream, command) = start(backend.clone(), name.clone());
        let server = Server { keys: Some(keys) };
        let connected = connect(stream, server).await;
        let handle = match connected {
            Ok(handle) => handle,
            Err(russh::Error::UnknownKey) => {
                let message =
                    format!("the SSH server of `{name}` shows another key than the engine tells");
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
            Ok(None) => Err(not_let_in(backend.as_ref(), name, access).await),
            Err(error) => Err(command.explain(name, error).await),
        }
    }

    /// Logs in at a server that is reached by a socket of this machine, whichever key it shows: for guests
    /// whose keys nobody tells.
    ///
    /// # Errors
    /// `Config` for a key of ours that can't be read, `PermissionDenied` where it isn't taken,
    /// `Unreachable` for what doesn't speak SSH.
    pub(in crate::backend) async fn over(
        stream: TcpStream,
        user: &str,
        key: &Path,
    ) -> Result<Self> {
        let failed = |error: russh::Error| {
            Error::new(ErrorKind::Unreachable, "no SSH session begins").caused_by(error)
        };
        let key = our_key(key)?;
        local_tcp::disable_pacing(&stream);
        // A connection's first bytes wait for an acknowledgement otherwise, which takes 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the session's packets wait for each other");
        }
        let handle = connect(stream, Server { keys: None }).await;
        let let_in = log_in(handle.map_err(failed)?, user, key).await;
        let_in.map_err(failed)?.map(Self::of).ok_or_else(|| {
            let message = format!("the guest doesn't let `{user}` in with Lima's key");
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

    /// A channel for a command, which the session lives as long as.
    pub(in crate::backend) async fn command(&self) -> Result<(russh::Channel<Msg>, User)> {
        let user = User::new(self.users.clone());
        let lost = || Error::new(ErrorKind::Unreachable, "the SSH session has ended");
        let handle = self.handle.borrow().clone().ok_or_else(lost)?;
        let opened = handle.channel_open_session().await;
        opened
            .map(|channel| (channel, user))
            .map_err(|error| lost().caused_by(error))
    }

    /// Whether it can be asked for a channel.
    pub(in crate::backend) fn is_open(&self) -> bool {
        let handle = self.handle.borrow();
        handle.as_ref().is_some_and(|handle| !handle.is_closed())
    }

    /// Opens a channel to a port of an address in the guest.
    pub(in crate::backend) async fn open(&self, target: &str, port: GuestPort) -> Opened {
        let user = User::new(self.users.clone());
        let Some(handle) = self.handle.borrow().clone() else {
            return Opened::Lost;
        };
        let opened = handle
            .channel_open_direct_tcpip(target, port.get().into(), "127.0.0.1", 0)
            .await;
        match opened {
            Ok(channel) => Opened::Channel(Box::new(Counted {
                stream: channel.into_stream(),
                _user: user,
            })),
            Err(russh::Error::ChannelOpenFailure(why)) => match why {
                ChannelOpenFailure::ConnectFailed => Opened::Refused,
                ChannelOpenFailure::AdministrativelyProhibited => Opened::Forbidden,
                _ => Opened::Lost,
            },
            Err(error) => {
                tracing::debug!(%error, "no channel");
                Opened::Lost
            }
        }
    }
}

/// Lets go of the session once nobody has used it for a while. It ends then.
async fn end_when_idle<T>(handle: watch::Sender<Option<T>>, mut users: watch::Receiver<usize>) {
    loop {
        if users.wait_for(|users| *users == 0).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(IDLE) => break,
            used = users.wait_for(|users| *users > 0) => drop(used),
        }
    }
    handle.send_replace(None);
}

/// Starts the command; its streams are one.
fn start(
    backend: Arc<dyn Backend>,
    name: InstanceName,
) -> (
    impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    Command,
) {
    let (ours, theirs) = duplex(BUFFER);
    let (stdin, stdout) = tokio::io::split(theirs);
    let (complaints, stderr) = duplex(BUFFER);
    let spec = ExecSpec::new(["sh", "-c", SERVE, "sh"]);
    let task = tokio::spawn(async move {
        let io = ExecIo::new(stdin, stdout, complaints);
        backend.exec(&name, &spec, io).await
    });
    let task = AbortOnDropHandle::new(task);
    (ours, Command { task, stderr })
}

impl Command {
    /// Why it has ended: what it said itself, where it did.
    async fn explain(self, name: &InstanceName, error: russh::Error) -> Error {
        let mut words = String::new();
        let (ended, _) = tokio::join!(self.task, async {
            // What isn't text is no word.
            let _ = self.stderr.take(WORDS).read_to_string(&mut words).await;
        });
        match ended {
            Ok(Ok(MISSING)) => no_server(name),
            Ok(Err(error)) => error,
            _ => {
                let message = format!("the SSH server of `{name}` lets nobody in");
                let error = Error::new(ErrorKind::Unsupported, message).caused_by(error);
                match words.lines().rfind(|line| !line.trim().is_empty()) {
                    Some(line) => error.with_hint(format!("it says: {}", line.trim())),
                    None => error,
                }
            }
        }
    }
}

async fn not_let_in(backend: &dyn Backend, name: &InstanceName, access: &Access) -> Error {
    let user = &access.user;
    if backend.read_file(name, BOOTING).await.is_ok() {
        let message = format!("`{name}` is still starting, and lets nobody in yet");
        return Error::new(ErrorKind::Guest, message);
    }
    let message = format!("the SSH server of `{name}` doesn't let `{user}` in with our key");
    Error::new(ErrorKind::PermissionDenied, message).with_hint(format!(
        "append {}.pub to ~/.ssh/authorized_keys of `{user}` in the env",
        access.key.display()
    ))
}

/// A session with nobody logged in.
async fn connect(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    server: Server,
) -> Result<Handle<Server>, russh::Error> {
    let stream = BufReader::with_capacity(READ_AHEAD, stream);
    client::connect_stream(config(), stream, server).await
}

fn config() -> Arc<client::Config> {
    Arc::new(client::Config {
        channel_buffer_size: WAITING,
        preferred: Preferred {
            cipher: Cow::Borrowed(CIPHERS),
            ..Preferred::DEFAULT
        },
        limits: Limits {
            rekey_read_limit: KEY_BYTES,
            rekey_write_limit: KEY_BYTES,
            rekey_time_limit: KEY_TIME,
        },
        keepalive_interval: Some(ALIVE),
        keepalive_max: ALIVE_MISSED,
        ..client::Config::default()
    })
}

fn our_key(path: &Path) -> Result<PrivateKey> {
    load_secret_key(path, None).map_err(|error| {
        let message = format!("{} can't be read", path.display());
        Error::new(ErrorKind::Config, message).caused_by(error)
    })
}

/// The session, where our key is taken.
async fn log_in(
    mut handle: Handle<Server>,
    user: &str,
    key: PrivateKey,
) -> Result<Option<Handle<Server>>, russh::Error> {
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let answer = handle.authenticate_publickey(user, key).await?;
    Ok(answer.success().then_some(handle))
}

/// The server, as we know it from its engine; `None` where nobody tells its keys.
pub(in crate::backend) struct Server {
    keys: Option<Vec<String>>,
}

impl client::Handler for Server {
    type Error = russh::Error;

    async fn disconnected(
        &mut self,
        why: DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        match why {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => {
                tracing::debug!(%error, "an SSH session has ended");
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
        Ok(bare(&shown).is_some_and(|shown| keys.contains(&shown)))
    }
}

/// One that uses a session, counted until it is dropped.
pub(in crate::backend) struct User(watch::Sender<usize>);

impl User {
    fn new(users: watch::Sender<usize>) -> Self {
        users.send_modify(|users| *users += 1);
        Self(users)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.send_modify(|users| *users -= 1);
    }
}

/// A channel that is counted.
struct Counted {
    stream: ChannelStream<Msg>,
    _user: User,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
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
    async fn a_session_ends_a_while_after_its_last_channel() {
        let (handle, mut session) = watch::channel(Some(()));
        let users = watch::Sender::new(0);
        let first = User::new(users.clone());
        let idle = tokio::spawn(end_when_idle(handle, users.subscribe()));
        tokio::time::sleep(IDLE * 10).await;
        assert!(session.borrow().is_some(), "it ended in use");
        drop(first);
        tokio::time::sleep(IDLE / 2).await;
        let second = User::new(users.clone());
        tokio::time::sleep(IDLE * 10).await;
        assert!(session.borrow().is_some(), "it ended in use again");
        drop(second);
        session.wait_for(Option::is_none).await.unwrap();
        idle.await.unwrap();
    }

    #[tokio::test]
    async fn only_a_key_that_the_engine_tells_is_taken() {
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
