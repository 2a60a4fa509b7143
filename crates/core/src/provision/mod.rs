//! Making a fresh guest usable: user, sudo, SSH, the project's own set-up; and running commands as that user.
//!
//! Written once over [`Backend::exec`], for every backend. The scripts are constant POSIX sh; values
//! reach them as arguments and on stdin, never as text of the script. Of a password they get the hash.

mod docker;
pub mod identity;
mod keys;
mod password;
mod setup;

use std::collections::BTreeMap;

use crate::backend::{Backend, ExecSpec, FULL_HINT, Output, is_full, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{InstanceName, UserName};

pub use docker::{INSTALL_DOCKER, install_docker};
pub use keys::{KeyPair, authorized_keys};
pub use password::Password;
pub use setup::{RUN_SETUP, run_setup};

/// Makes the user and its way in. `$1` user, `$2` whether passwords log in (`yes` or `no`); stdin:
/// the password's hash in the first line, then the authorized keys.
pub const SET_UP_USER: &str = include_str!("set_up_user.sh");
/// Starts sshd and waits until it runs. No arguments.
pub const START_SSH: &str = include_str!("start_ssh.sh");
/// Waits until the guest has a default route. No arguments. Exit code 75 when it took too long.
pub const WAIT_FOR_NETWORK: &str = include_str!("wait_for_network.sh");
/// Waits until init heeds signals. No arguments.
pub const WAIT_FOR_INIT: &str = include_str!("wait_for_init.sh");
/// A login shell of the user `$1` that keeps the variables `$2`.
const LOGIN: &str = include_str!("login.sh");
/// Prints `uid:gid` of the user `$1`.
const USER_IDS: &str = include_str!("user_ids.sh");
/// Runs `$2…` as the user `$1` in its home.
pub const RUN_AS: &str = include_str!("run_as.sh");

/// Exit code of [`WAIT_FOR_NETWORK`] when no address came.
const NO_NETWORK: i32 = 75;

/// Users that images have for their services; nobody logs in as one of them.
const SERVICES: [&str; 20] = [
    "backup",
    "bin",
    "daemon",
    "games",
    "irc",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "news",
    "nobody",
    "ntp",
    "proxy",
    "sshd",
    "sync",
    "sys",
    "systemd-network",
    "uucp",
    "www-data",
];

/// The user of an env.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: UserName,
    /// Its password.
    pub password: Password,
    /// Whether the file names the password, so that it shall log in over SSH too.
    pub password_named: bool,
}

impl User {
    /// Refuses a name that nearly every image has for one of its services. What one image alone has is
    /// found out when the user is made.
    ///
    /// # Errors
    /// `Config` naming it.
    pub fn expect_person(&self) -> Result<()> {
        if !SERVICES.contains(&self.name.as_str()) {
            return Ok(());
        }
        let message = format!(
            "`{}` can't be an env's user: images have a system user of that name",
            self.name
        );
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("write another name below `user:` in containers.yaml"))
    }
}

/// Makes the user with sudo, its keys and its password. Needs no network where sudo and sshd are in
/// the image; installs them otherwise.
///
/// # Errors
/// `Guest` with the last words of what failed in the guest.
pub async fn set_up_user(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &User,
    keys: &[String],
) -> Result<()> {
    let password_login = if user.password_named || keys.is_empty() {
        "yes"
    } else {
        "no"
    };
    let mut stdin = format!("{}\n", user.password.hashed()?);
    for key in keys.iter().chain(backend.own_key()?.as_ref()) {
        stdin.push_str(key);
        stdin.push('\n');
    }
    let arguments = [user.name.as_str(), password_login];
    let output = run_script(backend, name, SET_UP_USER, &arguments, stdin.into_bytes()).await?;
    expect_success(
        &output,
        format!("cannot set up the user `{}` in `{name}`", user.name),
    )
}

/// Starts sshd.
///
/// # Errors
/// `Guest` with the last words of what failed in the guest.
pub async fn start_ssh(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    let output = run_script(backend, name, START_SSH, &[], Vec::new()).await?;
    expect_success(&output, format!("cannot start the SSH server in `{name}`"))
}

/// Waits, inside of the guest, until it has an address. At most half a minute.
///
/// # Errors
/// `Timeout` when none came.
pub async fn wait_for_network(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    let output = run_script(backend, name, WAIT_FOR_NETWORK, &[], Vec::new()).await?;
    if output.code == NO_NETWORK {
        let message = format!("`{name}` got no address within 30 s");
        return Err(Error::new(ErrorKind::Timeout, message)
            .with_hint("look at the engine's bridge: DHCP (dnsmasq), or a firewall in the way"));
    }
    expect_success(&output, format!("cannot wait for the network of `{name}`"))
}

/// Waits, inside of a guest that has just been started, until its init can be asked to shut down. At
/// most half a minute.
///
/// # Errors
/// The engine's.
pub async fn wait_for_init(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    run_script(backend, name, WAIT_FOR_INIT, &[], Vec::new())
        .await
        .map(drop)
}

/// A command as a user of the guest, in its home, with its groups.
#[must_use]
pub fn as_user(user: &UserName, command: &[String]) -> ExecSpec {
    let head = ["sh", "-c", RUN_AS, "sh", user.as_str()].map(str::to_owned);
    ExecSpec::new(head.into_iter().chain(command.iter().cloned()))
}

/// The login shell of a user of the guest, which keeps these variables of its environment where the
/// guest's `su` can.
#[must_use]
pub fn login_shell(user: &UserName, variables: BTreeMap<String, String>) -> ExecSpec {
    let names: Vec<&str> = variables.keys().map(String::as_str).collect();
    let names = names.join(",");
    ExecSpec {
        environment: variables,
        ..ExecSpec::new(["sh", "-c", LOGIN, "sh", user.as_str(), &names])
    }
}

/// The numbers of a user of the guest and of its group.
///
/// # Errors
/// `Guest` for a user that isn't there.
pub async fn user_ids(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &UserName,
) -> Result<(u32, u32)> {
    let output = run_script(backend, name, USER_IDS, &[user.as_str()], Vec::new()).await?;
    expect_success(
        &output,
        format!("cannot find the user `{user}` in `{name}`"),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let ids = text.trim().split_once(':');
    ids.and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
        .ok_or_else(|| Error::new(ErrorKind::Guest, "the guest's answer can't be read"))
}

fn expect_success(output: &Output, what: String) -> Result<()> {
    if output.code == 0 {
        return Ok(());
    }
    let full = is_full(&String::from_utf8_lossy(&output.stderr));
    let cause = Error::new(ErrorKind::Guest, output.last_words());
    let error = Error::new(ErrorKind::Guest, what).caused_by(cause);
    Err(match full {
        true => error.with_hint(FULL_HINT),
        false => error,
    })
}
