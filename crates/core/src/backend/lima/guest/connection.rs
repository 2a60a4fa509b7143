//! The SSH connection to a guest: a port on loopback, forwarded by the machine's host agent.
//!
//! Lima's `ssh.config` in the machine's directory names port, user and key; the file of a stopped machine is stale,
//! so it is used only while the agent lives. Host keys are not checked: they change with every boot and Lima doesn't
//! publish them; Lima's own clients don't check them either.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::machine::directory::Directory;
use crate::backend::ssh::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// Allows for a busy, emulated guest.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
const CONFIG: &str = "ssh.config";

/// Pid and start time of a boot's host agent.
pub(crate) type Boot = (u32, Option<Timestamp>);

/// The SSH server of one boot of a machine.
#[derive(Debug, Clone)]
pub(crate) struct SshTarget {
    name: InstanceName,
    directory: Directory,
    boot: Boot,
    host: String,
    port: u16,
    user: String,
    key: PathBuf,
}

impl SshTarget {
    /// Returns the target of a running machine.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is not running, `Guest` while it is starting.
    pub(crate) fn of_running(home: &Path, name: &InstanceName) -> Result<Self> {
        let directory = Directory::new(home, name);
        if !directory.exists() {
            return Err(super::super::errors::not_found(name));
        }
        let boot = directory
            .boot()
            .ok_or_else(|| Error::new(ErrorKind::Conflict, format!("`{name}` is not running")))?;
        let config = directory.text(CONFIG)?.unwrap_or_default();
        let starting = || Error::new(ErrorKind::Guest, format!("`{name}` is still starting"));
        let value = |key: &str| value_of(&config, key);
        // The agent starts before it writes this file; until then the port may belong to another machine.
        if !directory.is_of_this_boot(CONFIG) {
            return Err(starting());
        }
        let port = value("Port")
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0);
        let user = value("User");
        let key = value("IdentityFile").map_or_else(|| home.join("_config/user"), PathBuf::from);
        Ok(Self {
            name: name.clone(),
            boot,
            host: value("Hostname").unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: port.ok_or_else(starting)?,
            user: user.ok_or_else(starting)?,
            key,
            directory,
        })
    }

    pub(crate) fn name(&self) -> &InstanceName {
        &self.name
    }

    pub(crate) fn boot(&self) -> Boot {
        self.boot
    }

    /// Opens a session.
    ///
    /// # Errors
    /// `Guest` while the server is not responding, `NotFound` and `Conflict` after the end of this boot,
    /// `PermissionDenied` if the key is rejected.
    pub(crate) async fn connect(&self) -> Result<Session> {
        self.ensure_same_boot()?;
        let session = timeout(LOGIN_TIMEOUT, async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|error| self.not_responding().caused_by(error))?;
            Session::connect_tcp(stream, &self.user, &self.key).await
        });
        match session.await {
            Ok(Ok(session)) => Ok(session),
            // The boot may have ended, or the server may not have started yet.
            Ok(Err(error)) => Err(match (self.ensure_same_boot(), error.kind()) {
                (Err(over), _) => over,
                (Ok(()), ErrorKind::Unreachable) => self.not_responding().caused_by(error),
                (Ok(()), _) => error,
            }),
            Err(_) => Err(self.not_responding()),
        }
    }

    /// # Errors
    /// `NotFound` and `Conflict` after the end of this boot.
    pub(crate) fn ensure_same_boot(&self) -> Result<()> {
        let name = &self.name;
        if !self.directory.exists() {
            return Err(super::super::errors::not_found(name));
        }
        let state = match self.directory.boot() {
            Some(boot) if boot == self.boot => return Ok(()),
            Some(_) => "was restarted",
            None => "is no longer running",
        };
        Err(Error::new(ErrorKind::Conflict, format!("`{name}` {state}")))
    }

    fn not_responding(&self) -> Error {
        let message = format!("the SSH server of `{}` is not responding", self.name);
        Error::new(ErrorKind::Guest, message)
    }

    /// Error for a connection that ended unexpectedly.
    pub(crate) fn connection_lost(&self) -> Error {
        let message = format!("the connection to `{}` was lost", self.name);
        Error::new(ErrorKind::Unreachable, message)
    }
}

/// Reads the public key that Lima installs in its guests.
pub(crate) fn own_key(home: &Path) -> Result<String> {
    let path = home.join("_config/user.pub");
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    Ok(text.trim().to_owned())
}

/// Returns a value of an SSH client configuration, without quotes.
fn value_of(config: &str, key: &str) -> Option<String> {
    config.lines().find_map(|line| {
        let (name, value) = line.trim().split_once([' ', '='])?;
        name.eq_ignore_ascii_case(key)
            .then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ssh_config_values() {
        let config = "Host lima-dev\n  IdentityFile \"/Users/a b/.lima/_config/user\"\n  \
                      User dev\n  Hostname 127.0.0.1\n  Port 60022\n";
        assert_eq!(value_of(config, "port").as_deref(), Some("60022"));
        let key = value_of(config, "IdentityFile");
        assert_eq!(key.as_deref(), Some("/Users/a b/.lima/_config/user"));
        assert_eq!(value_of(config, "ProxyCommand"), None);
    }

    #[test]
    fn only_running_machines_have_a_target() {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "dev".parse().unwrap();
        let kind = || {
            SshTarget::of_running(home.path(), &name)
                .unwrap_err()
                .kind()
        };
        assert_eq!(kind(), ErrorKind::NotFound);
        std::fs::create_dir(home.path().join("dev")).unwrap();
        std::fs::write(home.path().join("dev/lima.yaml"), "").unwrap();
        assert_eq!(kind(), ErrorKind::Conflict);
        let me = std::process::id().to_string();
        std::fs::write(home.path().join("dev/ha.pid"), me).unwrap();
        assert_eq!(kind(), ErrorKind::Guest);
    }
}
