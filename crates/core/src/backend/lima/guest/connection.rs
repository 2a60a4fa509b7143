//! How a machine's guest is reached: by the SSH port that its host agent keeps on loopback.
//!
//! Lima's `ssh.config` in the machine's directory names port, user and key; a stopped machine's file is
//! stale, so it counts while the agent lives. The guest's host keys are made anew in every boot and Lima
//! tells them to nobody, so they aren't compared: the port is this machine's own, and Lima's clients do
//! the same.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::lima::machine::directory::Directory;
use crate::backend::ssh::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// How long a login may take: a busy guest, in emulation.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONFIG: &str = "ssh.config";

/// Who the agent of a boot is, and since when.
pub(crate) type Boot = (u32, Option<Timestamp>);

/// The way to one boot of a machine.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    name: InstanceName,
    directory: Directory,
    boot: Boot,
    host: String,
    port: u16,
    user: String,
    key: PathBuf,
}

impl Reach {
    /// That of a machine that runs.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it doesn't run, `Guest` where it has only just begun to.
    pub(crate) fn of(home: &Path, name: &InstanceName) -> Result<Self> {
        let directory = Directory::new(home, name);
        if !directory.exists() {
            return Err(crate::backend::lima::missing(name));
        }
        let boot = directory
            .boot()
            .ok_or_else(|| Error::new(ErrorKind::Conflict, format!("`{name}` doesn't run")))?;
        let config = directory.text(CONFIG)?.unwrap_or_default();
        let starting = || Error::new(ErrorKind::Guest, format!("`{name}` is still starting"));
        let value = |key: &str| value_of(&config, key);
        // The agent is there before it writes where its guest is: until then it is another machine's port.
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

    /// Begins a session.
    ///
    /// # Errors
    /// `Guest` while nobody answers yet, `NotFound` and `Conflict` where this boot is over,
    /// `PermissionDenied` where nobody lets us in.
    pub(crate) async fn begin(&self) -> Result<Session> {
        self.expect_same_boot()?;
        let begun = timeout(TIMEOUT, async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.map_err(|error| self.silent().caused_by(error))?;
            Session::over(stream, &self.user, &self.key).await
        });
        match begun.await {
            Ok(Ok(session)) => Ok(session),
            // It has ended under our hands, or isn't there yet.
            Ok(Err(error)) => Err(match (self.expect_same_boot(), error.kind()) {
                (Err(over), _) => over,
                (Ok(()), ErrorKind::Unreachable) => self.silent().caused_by(error),
                (Ok(()), _) => error,
            }),
            Err(_) => Err(self.silent()),
        }
    }

    /// # Errors
    /// `NotFound` and `Conflict` where this boot is over.
    pub(crate) fn expect_same_boot(&self) -> Result<()> {
        let name = &self.name;
        if !self.directory.exists() {
            return Err(crate::backend::lima::missing(name));
        }
        let how = match self.directory.boot() {
            Some(boot) if boot == self.boot => return Ok(()),
            Some(_) => "was started anew",
            None => "doesn't run any more",
        };
        Err(Error::new(ErrorKind::Conflict, format!("`{name}` {how}")))
    }

    fn silent(&self) -> Error {
        let message = format!("the SSH server of `{}` doesn't answer", self.name);
        Error::new(ErrorKind::Guest, message)
    }

    /// What to say where a connection ends in the middle.
    pub(crate) fn lost(&self) -> Error {
        let message = format!("the connection to `{}` was lost", self.name);
        Error::new(ErrorKind::Unreachable, message)
    }
}

/// The public key by which Lima comes into its guests.
pub(crate) fn own_key(home: &Path) -> Result<String> {
    let path = home.join("_config/user.pub");
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    Ok(text.trim().to_owned())
}

/// A setting of an SSH client's configuration, without quotes.
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
    fn the_configuration_says_where_and_who() {
        let config = "Host lima-dev\n  IdentityFile \"/Users/a b/.lima/_config/user\"\n  \
                      User dev\n  Hostname 127.0.0.1\n  Port 60022\n";
        assert_eq!(value_of(config, "port").as_deref(), Some("60022"));
        let key = value_of(config, "IdentityFile");
        assert_eq!(key.as_deref(), Some("/Users/a b/.lima/_config/user"));
        assert_eq!(value_of(config, "ProxyCommand"), None);
    }

    #[test]
    fn only_what_runs_is_reached() {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "dev".parse().unwrap();
        let kind = || Reach::of(home.path(), &name).unwrap_err().kind();
        assert_eq!(kind(), ErrorKind::NotFound);
        std::fs::create_dir(home.path().join("dev")).unwrap();
        std::fs::write(home.path().join("dev/lima.yaml"), "").unwrap();
        assert_eq!(kind(), ErrorKind::Conflict);
        let me = std::process::id().to_string();
        std::fs::write(home.path().join("dev/ha.pid"), me).unwrap();
        assert_eq!(kind(), ErrorKind::Guest);
    }
}
