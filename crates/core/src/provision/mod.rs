//! Setting up a new guest: user, sudo, SSH, the project's set-up script; and running commands as
//! that user.
//!
//! Written once over [`Backend::exec`], for every backend. The scripts are constant POSIX sh;
//! values are passed as arguments and stdin, never in the script text. Passwords are passed as
//! hashes.

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

/// Creates the user with its login. `$1` user, `$2` password login (`yes` or `no`); stdin: the
/// password's hash in the first line, then the authorized keys.
pub const SET_UP_USER: &str = include_str!("set_up_user.sh");
/// Starts sshd and waits until it runs. No arguments.
pub const START_SSH: &str = include_str!("start_ssh.sh");
/// Waits until the guest has a default route. No arguments. Exit code 75 after a timeout.
pub const WAIT_FOR_NETWORK: &str = include_str!("wait_for_network.sh");
/// Waits until init handles signals. No arguments.
pub const WAIT_FOR_INIT: &str = include_str!("wait_for_init.sh");
/// Starts a login shell of the user `$1` that keeps the variables `$2`.
const LOGIN: &str = include_str!("login.sh");
/// Prints `uid:gid` of the user `$1`.
const USER_IDS: &str = include_str!("user_ids.sh");
/// Runs `$2…` as the user `$1` in the user's home.
pub const RUN_AS: &str = include_str!("run_as.sh");

/// Exit code of [`WAIT_FOR_NETWORK`] after a timeout.
const NO_NETWORK: i32 = 75;

/// Service users of most images, without login.
const SERVICE_USERS: [&str; 20] = [
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
    pub name: UserName,
    pub password: Password,
    /// The file sets the password, so SSH accepts it too.
    pub has_explicit_password: bool,
}

impl User {
    /// Rejects names of service users of most images. Users of a specific image are found during
    /// set-up.
    ///
    /// # Errors
    /// `Config`.
    pub fn ensure_login_user(&self) -> Result<()> {
        if !SERVICE_USERS.contains(&self.name.as_str()) {
            return Ok(());
        }
        let message = format!(
            "invalid user `{}`: images have a system user of this name",
            self.name
        );
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("choose another name in `user:` of containers.yaml"))
    }
}

/// Creates the user with sudo, keys and password. Needs a network only if the image lacks sudo or
/// sshd.
///
/// # Errors
/// `Guest` with the last line of output.
pub async fn set_up_user(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &User,
    keys: &[String],
) -> Result<()> {
    let password_login = if user.has_explicit_password || keys.is_empty() {
        "yes"
    } else {
        "no"
    };
    let mut stdin = format!("{}\n", user.password.hash()?);
    for key in keys.iter().chain(backend.own_key()?.as_ref()) {
        stdin.push_str(key);
        stdin.push('\n');
    }
    let arguments = [user.name.as_str(), password_login];
    let output = run_script(backend, name, SET_UP_USER, &arguments, stdin.into_bytes()).await?;
    ensure_success(
        &output,
        format!("cannot set up the user `{}` in `{name}`", user.name),
    )
}

/// Starts sshd.
///
/// # Errors
/// `Guest` with the last line of output.
pub async fn start_ssh(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    let output = run_script(backend, name, START_SSH, &[], Vec::new()).await?;
    ensure_success(&output, format!("cannot start the SSH server in `{name}`"))
}

/// Waits in the guest until it has an address, for at most 30 seconds.
///
/// # Errors
/// `Timeout`.
pub async fn wait_for_network(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    let output = run_script(backend, name, WAIT_FOR_NETWORK, &[], Vec::new()).await?;
    if output.code == NO_NETWORK {
        let message = format!("`{name}` got no address within 30 s");
        return Err(Error::new(ErrorKind::Timeout, message)
            .with_hint("check the engine's bridge: DHCP (dnsmasq) and the firewall"));
    }
    ensure_success(&output, format!("cannot wait for the network of `{name}`"))
}

/// Waits in a starting guest until its init handles a shutdown, for at most 30 seconds.
///
/// # Errors
/// The engine's.
pub async fn wait_for_init(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    run_script(backend, name, WAIT_FOR_INIT, &[], Vec::new())
        .await
        .map(drop)
}

/// A command as a user of the guest, in the home directory, with all groups.
#[must_use]
pub fn as_user(user: &UserName, command: &[String]) -> ExecSpec {
    let shell = ["sh", "-c", RUN_AS, "sh", user.as_str()].map(str::to_owned);
    ExecSpec::new(shell.into_iter().chain(command.iter().cloned()))
}

/// A user's login shell, which keeps these variables if the guest's `su` supports it.
#[must_use]
pub fn login_shell(user: &UserName, variables: BTreeMap<String, String>) -> ExecSpec {
    let names: Vec<&str> = variables.keys().map(String::as_str).collect();
    let names = names.join(",");
    ExecSpec {
        environment: variables,
        ..ExecSpec::new(["sh", "-c", LOGIN, "sh", user.as_str(), &names])
    }
}

/// User and group id of a user of the guest.
///
/// # Errors
/// `Guest` for a missing user.
pub async fn user_ids(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &UserName,
) -> Result<(u32, u32)> {
    let output = run_script(backend, name, USER_IDS, &[user.as_str()], Vec::new()).await?;
    ensure_success(
        &output,
        format!("cannot find the user `{user}` in `{name}`"),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let ids = text.trim().split_once(':');
    ids.and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
        .ok_or_else(|| Error::new(ErrorKind::Guest, "invalid output of the guest"))
}

fn ensure_success(output: &Output, message: String) -> Result<()> {
    if output.code == 0 {
        return Ok(());
    }
    let is_full = is_full(&String::from_utf8_lossy(&output.stderr));
    let cause = Error::new(ErrorKind::Guest, output.last_line());
    let error = Error::new(ErrorKind::Guest, message).caused_by(cause);
    Err(if is_full {
        error.with_hint(FULL_HINT)
    } else {
        error
    })
}
