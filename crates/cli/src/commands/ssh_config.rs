//! `ssh-config`, and the two hidden commands that its output runs.

use std::ffi::OsString;
use std::path::Path;

use lxc_dev_manager_core::backend::GuestStream;
use lxc_dev_manager_core::provision::KeyPair;
use lxc_dev_manager_core::{Error, ErrorKind, Result, assemble};
use serde_json::json;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes, join};

use crate::args::{Dial, EnvOnly, HostKeys};
use crate::context::Context;
use crate::ssh_quote::quote;

/// Sets variables for a command. ssh needs an absolute path.
const ENV: &str = "/usr/bin/env";

/// Prints a block for `~/.ssh/config`. It dials through the engine, which also provides the host keys.
pub(crate) fn run(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    let user = project.file().user(&args.name)?.name;
    let instance = project.instance(&args.name)?;
    let key = KeyPair::load_or_create(context.operations.home())?.private;
    ensure_plain(&key)?;
    let program = command_prefix(context, project.directory())?;
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
         \x20 ProxyCommand {program} dial {env} 22\n\
         \x20 KnownHostsCommand {program} host-keys {env} %H\n\
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

/// Returns the start of a command line of this program for `ssh`. It carries the current environment,
/// because an editor may start `ssh` in another one.
fn command_prefix(context: &Context, directory: &Path) -> Result<String> {
    let program = std::env::current_exe()
        .map_err(|error| Error::io("cannot determine the path of this program", error))?;
    let here = std::env::current_dir()
        .map_err(|error| Error::io("cannot determine the current directory", error))?;
    let variables = assemble::inherited_variables(&|name| std::env::var_os(name), &here);
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
        .map(|word| quote(word))
        .collect::<Result<_>>()?;
    Ok(quoted.join(" "))
}

/// Rejects paths with characters that `ssh` interprets.
fn ensure_plain(path: &Path) -> Result<()> {
    let text = path.to_str().unwrap_or("\"");
    let special = |c: char| c.is_control() || matches!(c, '"' | '%' | '$' | '`' | '\\' | '!');
    if !text.contains(special) {
        return Ok(());
    }
    let message = format!("cannot use {} in an SSH configuration", path.display());
    Err(Error::new(ErrorKind::Unsupported, message)
        .with_hint("move it to a path without quotes, `$`, `%`, `!` or backslashes"))
}

/// Connects stdin and stdout to a port of an env.
pub(crate) async fn dial(context: &Context, args: Dial) -> Result<()> {
    let project = context.project()?;
    let running_env = context.operations.running_env(&project, &args.name).await?;
    // An env that was just started may have no address yet.
    running_env.wait_for_network().await?;
    let mut guest = running_env.dial(args.port).await?;
    let mut stdio = join(tokio::io::stdin(), tokio::io::stdout());
    let failed = |error| Error::io("connection lost", error);
    copy_bidirectional_with_sizes(
        &mut stdio,
        &mut guest,
        GuestStream::PACKET,
        GuestStream::PACKET,
    )
    .await
    .map_err(failed)?;
    tokio::io::stdout().flush().await.map_err(failed)
}

/// Prints the lines of `known_hosts` for an env.
pub(crate) async fn host_keys(context: &Context, args: HostKeys) -> Result<()> {
    let project = context.project()?;
    let running_env = context.operations.running_env(&project, &args.name).await?;
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if !args.host.chars().all(plain) {
        let message = format!("invalid host name `{}`", args.host);
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
