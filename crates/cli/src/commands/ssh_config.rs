//! `ssh-config`, and the two hidden commands that it leads `ssh` to.

use std::path::Path;

use lxc_dev_manager_core::provision::KeyPair;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;
use tokio::io::{AsyncWriteExt, copy_bidirectional, join};

use crate::args::{Dial, EnvOnly, HostKeys};
use crate::context::Context;

/// Prints a block for `~/.ssh/config`: through the engine, with our key, and with the host key that the
/// engine tells.
pub(crate) fn run(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    if context
        .engine
        .backends()
        .iter()
        .all(|backend| backend.id().is_remote())
    {
        let message = "`ssh` can't get into envs of an engine on another machine yet";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint(format!("use `lxc-dev-manager ssh {}`", args.name)));
    }
    let user = project.file().user(&args.name)?.name;
    let instance = project.instance(&args.name)?;
    let key = KeyPair::load_or_make(context.engine.home())?.private;
    let program = std::env::current_exe()
        .map_err(|error| Error::io("the path of this program isn't known", error))?;
    let directory = project.directory();
    for path in [&program, directory, &key] {
        expect_plain(path)?;
    }
    let itself = format!("\"{}\" -C \"{}\"", program.display(), directory.display());
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

/// `ssh` has `%` and quotes for itself in these lines, and hands them to a shell.
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
    let entrance = context.engine.enter(&project, &args.name).await?;
    // One that has just been started gets its address a little later.
    entrance.wait_for_network().await?;
    let mut guest = entrance.dial(args.port).await?;
    let mut own = join(tokio::io::stdin(), tokio::io::stdout());
    let broken = |error| Error::io("the connection broke", error);
    copy_bidirectional(&mut own, &mut guest)
        .await
        .map_err(broken)?;
    tokio::io::stdout().flush().await.map_err(broken)
}

/// Prints the lines of `known_hosts` for an env.
pub(crate) async fn host_keys(context: &Context, args: HostKeys) -> Result<()> {
    let project = context.project()?;
    let entrance = context.engine.enter(&project, &args.name).await?;
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if !args.host.chars().all(plain) {
        let message = format!("`{}` is no host", args.host);
        return Err(Error::new(ErrorKind::InvalidName, message));
    }
    let keys = entrance.host_keys().await?;
    let lines: Vec<String> = keys
        .iter()
        .map(|key| format!("{} {key}\n", args.host))
        .collect();
    let data = json!({ "env": args.name, "keys": keys });
    context.printer.data(&data, |_| lines.concat());
    Ok(())
}
