//! Set-up of a new guest (user, sudo, SSH, the project's script), and commands as its user.
//!
//! Written over [`Backend::exec`] for all backends. Scripts are constant POSIX sh: values are passed as arguments and
//! on stdin, passwords as hashes.

mod docker;
pub mod identity;
mod ids;
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

/// Creates the user. `$1` user, `$2` password login (`yes` or `no`); stdin: password hash in the first line, then the
/// authorized keys.
pub const SET_UP_USER: &str = include_str!("set_up_user.sh");
/// Starts sshd and waits until it runs.
pub const START_SSH: &str = include_str!("start_ssh.sh");
/// Waits for a default route. Exit code 75 after a timeout.
pub const WAIT_FOR_NETWORK: &str = include_str!("wait_for_network.sh");
/// Waits until init handles signals.
pub const WAIT_FOR_INIT: &str = include_str!("wait_for_init.sh");
/// Starts a login shell. `$1` user, `$2` variables to keep.
const LOGIN: &str = include_str!("login.sh");
/// Prints `uid:gid`. `$1` user.
const USER_IDS: &str = include_str!("user_ids.sh");
/// Runs `$2…` as user `$1` in the user's home.
pub const RUN_AS: &str = include_str!("run_as.sh");

/// Exit code of [`WAIT_FOR_NETWORK`] after a timeout.
const NO_NETWORK: i32 = 75;

/// Users without login in most images.
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
    /// Set in the file, so SSH accepts it too.
    pub has_explicit_password: bool,
}

impl User {
    /// Rejects service users of most images. Set-up finds those of the actual image.
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

/// Creates the user with sudo, keys and password. Needs a network only if the image lacks sudo or sshd.
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

/// Waits up to 30 seconds until the guest has an address.
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

/// Waits up to 30 seconds until init handles a shutdown.
///
/// # Errors
/// Those of [`Backend::exec`].
pub async fn wait_for_init(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    run_script(backend, name, WAIT_FOR_INIT, &[], Vec::new())
        .await
        .map(drop)
}

/// Runs a command as a user of the guest, with all groups, in the home directory.
#[must_use]
pub fn as_user(user: &UserName, command: &[String]) -> ExecSpec {
    let shell = ["sh", "-c", RUN_AS, "sh", user.as_str()].map(str::to_owned);
    ExecSpec::new(shell.into_iter().chain(command.iter().cloned()))
}

/// A login shell that keeps these variables, if the guest's `su` supports it.
#[must_use]
pub fn login_shell(user: &UserName, variables: BTreeMap<String, String>) -> ExecSpec {
    let names: Vec<&str> = variables.keys().map(String::as_str).collect();
    let names = names.join(",");
    ExecSpec {
        environment: variables,
        ..ExecSpec::new(["sh", "-c", LOGIN, "sh", user.as_str(), &names])
    }
}

/// User and group ID of a user of the guest.
///
/// # Errors
/// `Guest` if the user is missing.
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

/// User and group ID that a user of a stopped guest has, or will get from [`set_up_user`].
///
/// # Errors
/// Those of [`Backend::read_file`](crate::backend::Files::read_file).
pub async fn expected_user_ids(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &UserName,
) -> Result<(u32, u32)> {
    let (users, groups) = tokio::try_join!(
        identity::read_text(backend, name, "/etc/passwd"),
        identity::read_text(backend, name, "/etc/group"),
    )?;
    Ok(ids::expected(
        &users.unwrap_or_default(),
        &groups.unwrap_or_default(),
        user,
    ))
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
