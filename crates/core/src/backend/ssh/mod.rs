//! Route to a guest's ports by SSH, for guests whose network is unreachable, such as those of a remote.
//!
//! A command in the guest, run by [`Backend::exec`], becomes an SSH server on its own streams, so no port is needed;
//! its host key is checked against the files that the engine reads. For Lima, sessions use the port of the machine's
//! own server, with unknown keys. Each instance has one session, each connection a `direct-tcpip` channel; the session
//! ends some time after its last channel. A reader that stops reading blocks its session after
//! [`session::CHANNEL_BUFFER_PACKETS`] packets; new connections then use another one. Deliberately absent: passwords
//! and file transfer.

mod channels;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Backend, Content, GuestStream, Route};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, GuestPort, InstanceName, UserName};

pub(in crate::backend) use channels::{ChannelSource, Channels};
pub(in crate::backend) use session::{Session, SessionUse};

/// Allows for a slow network and a busy host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// Credentials in a guest.
#[derive(Debug, Clone)]
pub struct Access {
    /// The guest's user.
    pub user: UserName,
    /// File of the private key.
    pub key: PathBuf,
}

/// Route to one boot of an instance.
pub struct SshRoute(Channels<Guest>);

/// A running guest in which the server is started.
struct Guest {
    backend: Arc<dyn Backend>,
    name: InstanceName,
    started_at: Option<Timestamp>,
    access: Access,
}

impl SshRoute {
    /// Creates the route to a running instance. Opens no session yet.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is not running.
    pub async fn new(
        backend: Arc<dyn Backend>,
        name: &InstanceName,
        access: Access,
    ) -> Result<Self> {
        let instance = backend.brief(name).await?;
        if instance.status != EnvStatus::Running {
            return Err(conflict(name, "is not running"));
        }
        Ok(Self(Channels::new(Guest {
            backend,
            name: name.clone(),
            started_at: instance.started_at,
            access,
        })))
    }
}

#[async_trait]
impl Route for SshRoute {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        self.0.dial(port).await
    }
}

#[async_trait]
impl ChannelSource for Guest {
    fn name(&self) -> &InstanceName {
        &self.name
    }

    async fn open_session(&self) -> Result<Session> {
        let instance = self.backend.brief(&self.name).await?;
        match instance.status {
            EnvStatus::Running if instance.started_at == self.started_at => {}
            EnvStatus::Running => return Err(conflict(&self.name, "was restarted")),
            _ => return Err(conflict(&self.name, "is no longer running")),
        }
        let session = timeout(CONNECT_TIMEOUT, async {
            let keys = host_keys(self.backend.as_ref(), &self.name).await;
            let keys = keys.map_err(|error| match error.kind() {
                ErrorKind::NotFound => no_server(&self.name),
                _ => error,
            })?;
            loop {
                let keys = keys.clone();
                let session = Session::start(&self.backend, &self.name, &self.access, keys).await;
                match session {
                    // Still booting: the next server waits for the end of the boot.
                    Err(error) if error.kind() == ErrorKind::Guest => {}
                    session => return session,
                }
            }
        });
        session.await.unwrap_or_else(|_| {
            let seconds = CONNECT_TIMEOUT.as_secs();
            let message = format!(
                "the login to the SSH server of `{}` timed out after {seconds} s",
                self.name
            );
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }
}

/// Reads the public SSH host keys of an instance as `TYPE BASE64`, through the engine, so they can be trusted.
///
/// # Errors
/// Those of the engine; `NotFound` without an SSH server.
pub async fn host_keys(backend: &dyn Backend, name: &InstanceName) -> Result<Vec<String>> {
    const SSH: &str = "/etc/ssh";
    let failed = |error: Error| error.context("cannot read the SSH host keys");
    let listed = backend.read_file(name, SSH).await;
    let Content::Directory(files) = listed.map_err(failed)?.content else {
        return Ok(Vec::new());
    };
    let is_key = |file: &&String| file.starts_with("ssh_host_") && file.ends_with("_key.pub");
    let mut keys = Vec::new();
    for file in files.iter().filter(is_key) {
        let found = backend.read_file(name, &format!("{SSH}/{file}")).await;
        if let Content::File(from) = found.map_err(failed)?.content {
            let mut text = String::new();
            let read = from.take(MAX_KEY_BYTES).read_to_string(&mut text).await;
            read.map_err(|error| failed(Error::io("invalid key file", error)))?;
            keys.extend(strip_comment(&text));
        }
    }
    Ok(keys)
}

/// Strips the comment of a public key.
fn strip_comment(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

fn no_server(name: &InstanceName) -> Error {
    let message = format!("`{name}` has no SSH server, which is needed to reach its ports");
    Error::new(ErrorKind::Unsupported, message)
        .with_hint("run `lxc-dev-manager exec -u root NAME -- apt-get install openssh-server`")
}

fn conflict(name: &InstanceName, state: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("`{name}` {state}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_keys_without_comments() {
        let line = "ssh-ed25519 AAAAC3Nza root@dev\n";
        assert_eq!(
            strip_comment(line).as_deref(),
            Some("ssh-ed25519 AAAAC3Nza")
        );
        assert_eq!(strip_comment("ssh-ed25519"), None);
    }
}
