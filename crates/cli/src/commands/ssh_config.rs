//! `ssh-config`, and the two hidden commands that it leads `ssh` to.

use std::ffi::OsString;
use std::path::Path;

use lxc_dev_manager_core::backend::GuestStream;
use lxc_dev_manager_core::provision::KeyPair;
use lxc_dev_manager_core::{Error, ErrorKind, Result, assemble};
use serde_json::json;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes, join};

use crate::args::{Dial, EnvOnly, HostKeys};
use crate::context::Context;
use crate::ssh_quote::quoted;

/// Sets variables for a command; ssh wants the whole path.
const ENV: &str = "/usr/bin/env";

/// Prints a block for `~/.ssh/config`: through the engine, with our key, and with the host key that the
/// engine tells.
pub(crate) fn run(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    let user = project.file().user(&args.name)?.name;
    let instance = project.instance(&args.name)?;
    let key = KeyPair::load_or_make(context.operations.home())?.private;
    expect_plain(&key)?;
    let itself = itself(context, project.directory())?;
    let env = &args.name;
    let host = match project.name() {
        Some(name) => format!("{env}.{name}.ldm"),
        None => format!("{env}.ldm"),
    };
    let text = format!(
        "Host {host}\n\
         \x20 HostName {instance}\n\
         \x20 User {user}\n\
         \x20 IdentityFile \"{key}\"\n\
         \x20 ProxyCommand {itself} dial {env} 22\n\
         \x20 KnownHostsCommand {itself} host-keys {env} %H\n\
         \x20 UserKnownHostsFile none\n\
         \x20 GlobalKnownHostsFile none\n\
         \x20 StrictHostKeyChecking yes\n\
         \x20 CheckHostIP no\n",
        key = key.display(),
    );
    let data = json!({ "env": env, "host": host, "user": user, "identity": key, "config": text });
    context.printer.data(&data, |_| text.clone());
    Ok(())
}

/// The beginning of a command line of this program, for `ssh` to run: with the state and the engine of
/// now, for an editor starts `ssh` in other surroundings.
fn itself(context: &Context, directory: &Path) -> Result<String> {
    let program = std::env::current_exe()
        .map_err(|error| Error::io("the path of this program isn't known", error))?;
    let here = std::env::current_dir()
        .map_err(|error| Error::io("there is no current directory", error))?;
    let variables = assemble::handed_on(&|name| std::env::var_os(name), &here);
    let mut words: Vec<OsString> = Vec::new();
    if !variables.is_empty() {
        words.push(ENV.into());
    }
    for (name, value) in variables {
        let mut word = OsString::from(format!("{name}="));
        word.push(value);
        words.push(word);
    }
    words.extend([program.into(), "-C".into(), directory.into()]);
    if let Some(remote) = &context.remote {
        words.extend(["--remote".into(), remote.as_str().into()]);
    }
    let quoted: Vec<String> = words
        .iter()
        .map(|word| quoted(word))
        .collect::<Result<_>>()?;
    Ok(quoted.join(" "))
}

/// `ssh` has `%` and quotes for itself in these lines.
fn expect_plain(path: &Path) -> Result<()> {
    let text = path.to_str().unwrap_or("\"");
    let special = |c: char| c.is_control() || matches!(c, '"' | '%' | '$' | '`' | '\\' | '!');
    if !text.contains(special) {
        return Ok(());
    }
    let message = format!("{} can't be written into a file of ssh", path.display());
    Err(Error::new(ErrorKind::Unsupported, message)
        .with_hint("move it to a path without quotes, `$`, `%`, `!` and backslashes"))
}

/// Connects stdin and stdout to a port of an env.
pub(crate) async fn dial(context: &Context, args: Dial) -> Result<()> {
    let project = context.project()?;
    let running_env = context.operations.enter(&project, &args.name).await?;
    // One that has just been started gets its address a little later.
    running_env.wait_for_network().await?;
    let mut guest = running_env.dial(args.port).await?;
    let mut own = join(tokio::io::stdin(), tokio::io::stdout());
    let broken = |error| Error::io("the connection broke", error);
    copy_bidirectional_with_sizes(
        &mut own,
        &mut guest,
        GuestStream::PACKET,
        GuestStream::PACKET,
    )
    .await
    .map_err(broken)?;
    tokio::io::stdout().flush().await.map_err(broken)
}

/// Prints the lines of `known_hosts` for an env.
pub(crate) async fn host_keys(context: &Context, args: HostKeys) -> Result<()> {
    let project = context.project()?;
    let running_env = context.operations.enter(&project, &args.name).await?;
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if !args.host.chars().all(plain) {
        let message = format!("`{}` is no host", args.host);
        return Err(Error::new(ErrorKind::InvalidName, message));
    }
    let keys = running_env.host_keys().await?;
    let lines: Vec<String> = keys
        .iter()
        .map(|key| format!("{} {key}\n", args.host))
        .collect();
    let data = json!({ "env": args.name, "keys": keys });
    context.printer.data(&data, |_| lines.concat());
    Ok(())
}
