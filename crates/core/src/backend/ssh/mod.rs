//! The way to a guest's ports by SSH, for guests whose network isn't within reach: at a remote, say.
//!
//! Where it goes over [`Backend::exec`], for every backend, a command in the guest becomes an SSH server on its
//! own streams, so no port of the guest is needed; the host key is compared with what the engine tells of it.
//! Lima has a port for each machine's server, and nobody tells its key. One session an instance carries a channel
//! (`direct-tcpip`) a connection. The guest's user lets us in by our own key, or by Lima's. Once the last channel
//! has ended for a while, so does the session.
//!
//! A reader that doesn't read holds its session up once [`session::WAITING`] packets wait for it, for the
//! library acknowledges what it hasn't handed over. New connections get another session then.
//! Deliberately absent: logging in by password, and files. Lima's commands run in channels of such sessions, too
//! (`backend/lima/exec`).

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
pub(in crate::backend) use session::{Session, User};

/// How long a session may take to begin: over a slow line, to a busy machine.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// More bytes than a public key has.
const KEY_LIMIT: u64 = 64 * 1024;

/// Who we are in a guest.
#[derive(Debug, Clone)]
pub struct Access {
    /// The guest's user.
    pub user: UserName,
    /// File with the private key that lets us in.
    pub key: PathBuf,
}

/// The way to one boot of an instance.
pub struct SshRoute(Channels<Guest>);

/// A running guest, in which our command becomes a server.
struct Guest {
    backend: Arc<dyn Backend>,
    name: InstanceName,
    started_at: Option<Timestamp>,
    access: Access,
}

impl SshRoute {
    /// The way to a running instance. No session is begun yet.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it doesn't run.
    pub async fn new(
        backend: Arc<dyn Backend>,
        name: &InstanceName,
        access: Access,
    ) -> Result<Self> {
        let instance = backend.brief(name).await?;
        if instance.status != EnvStatus::Running {
            return Err(gone(name, "doesn't run"));
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

    async fn begin(&self) -> Result<Session> {
        let instance = self.backend.brief(&self.name).await?;
        match instance.status {
            EnvStatus::Running if instance.started_at == self.started_at => {}
            EnvStatus::Running => return Err(gone(&self.name, "was started anew")),
            _ => return Err(gone(&self.name, "doesn't run any more")),
        }
        let begun = timeout(BEGIN_TIMEOUT, async {
            let keys = host_keys(self.backend.as_ref(), &self.name).await;
            let keys = keys.map_err(|error| match error.kind() {
                ErrorKind::NotFound => no_server(&self.name),
                _ => error,
            })?;
            loop {
                let keys = keys.clone();
                let begun = Session::begin(&self.backend, &self.name, &self.access, keys).await;
                match begun {
                    // It has begun to boot while we came. The next server waits for the end of that.
                    Err(error) if error.kind() == ErrorKind::Guest => {}
                    begun => return begun,
                }
            }
        });
        begun.await.unwrap_or_else(|_| {
            let seconds = BEGIN_TIMEOUT.as_secs();
            let message = format!(
                "the SSH server of `{}` hasn't let us in within {seconds} s",
                self.name
            );
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }
}

/// The public SSH host keys of an instance, `KIND BASE64` each. The engine tells them, so nobody on the
/// way can.
///
/// # Errors
/// The engine's; `NotFound` for one without an SSH server.
pub async fn host_keys(backend: &dyn Backend, name: &InstanceName) -> Result<Vec<String>> {
    const SSH: &str = "/etc/ssh";
    let failed = |error: Error| error.context("the env's host keys can't be read");
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
            let read = from.take(KEY_LIMIT).read_to_string(&mut text).await;
            read.map_err(|error| failed(Error::io("no key", error)))?;
            keys.extend(bare(&text));
        }
    }
    Ok(keys)
}

/// A public key without its comment.
fn bare(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

fn no_server(name: &InstanceName) -> Error {
    let message = format!("`{name}` has no SSH server, which leads to its ports from here");
    Error::new(ErrorKind::Unsupported, message).with_hint(
        "install one in the env: `lxc-dev-manager exec -u root NAME -- apt-get install openssh-server`",
    )
}

fn gone(name: &InstanceName, how: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("`{name}` {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_compared_without_its_comment() {
        let line = "ssh-ed25519 AAAAC3Nza root@dev\n";
        assert_eq!(bare(line).as_deref(), Some("ssh-ed25519 AAAAC3Nza"));
        assert_eq!(bare("ssh-ed25519"), None);
    }
}
