//! `exec` and `ssh`. They return the guest's exit code.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use lxc_dev_manager_core::backend::{ExecIo, ExecSpec};
use lxc_dev_manager_core::model::{EnvName, EnvPattern, UserName};
use lxc_dev_manager_core::operations::ForwardedSocket;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::provision;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::EXEC_FAILED;
use super::multi_env::matching_envs;
use crate::args::{EndForward, Exec, Ssh};
use crate::context::Context;
use crate::prefixed_writer::PrefixedWriter;
use crate::terminal::{self, RawMode};

/// Variable with the SSH agent's socket, on the host and in the guest.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

pub(crate) async fn run(context: &Context, args: Exec) -> Result<u8> {
    let project = context.project()?;
    let EnvPattern::Name(name) = &args.name else {
        return run_in_many(context, &project, args).await;
    };
    let target = Target {
        user: user(&project, name, args.user)?,
        project: &project,
        env: name,
        agent: args.agent,
    };
    let command = args.command;
    enter(context, target, |user, environment| ExecSpec {
        environment,
        ..provision::as_user(user, &command)
    })
    .await
}

/// Runs a command in all matching envs in parallel, without stdin. Each output line is prefixed with its env.
async fn run_in_many(context: &Context, project: &Project, args: Exec) -> Result<u8> {
    if args.agent {
        let message = "the SSH agent can only be forwarded to one env";
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint("name one env"));
    }
    let names = matching_envs(project, std::slice::from_ref(&args.name))?;
    let widest = names.iter().map(|name| name.as_str().len()).max();
    let all = names.iter().map(|name| {
        let (user, command) = (args.user.clone(), &args.command);
        async move {
            let ran = run_prefixed(context, project, name, user, command, widest.unwrap_or(0));
            ran.await.unwrap_or_else(|error| {
                context
                    .printer
                    .error(&error.context(format!("in `{name}`")));
                i32::from(EXEC_FAILED)
            })
        }
    });
    let codes = futures_util::future::join_all(all).await;
    let worst = codes.into_iter().max().unwrap_or(0);
    Ok(u8::try_from(worst).unwrap_or(EXEC_FAILED))
}

async fn run_prefixed(
    context: &Context,
    project: &Project,
    name: &EnvName,
    requested: Option<UserName>,
    command: &[String],
    width: usize,
) -> Result<i32> {
    let user = user(project, name, requested)?;
    let running_env = context.operations.running_env(project, name).await?;
    let mut spec = provision::as_user(&user, command);
    spec.environment = variables(context, project, name)?;
    let label = context.printer.dim(&format!("{name:width$} | "));
    let io = ExecIo::new(
        tokio::io::empty(),
        PrefixedWriter::new(label.clone(), tokio::io::stdout()),
        PrefixedWriter::new(label, tokio::io::stderr()),
    );
    running_env.exec(&spec, io).await
}

pub(crate) async fn ssh(context: &Context, args: Ssh) -> Result<u8> {
    let project = context.project()?;
    let target = Target {
        user: user(&project, &args.name, args.user)?,
        project: &project,
        env: &args.name,
        agent: args.agent,
    };
    enter(context, target, provision::login_shell).await
}

fn user(project: &Project, env: &EnvName, requested: Option<UserName>) -> Result<UserName> {
    match requested {
        Some(user) => Ok(user),
        None => Ok(project.file().user(env)?.name),
    }
}

/// Returns the host variables that the file passes to the env, if set.
fn variables(
    context: &Context,
    project: &Project,
    env: &EnvName,
) -> Result<BTreeMap<String, String>> {
    let names = context.operations.host_variables(project, env)?.into_iter();
    Ok(names
        .filter_map(|name| Some((name.to_string(), std::env::var(name.as_str()).ok()?)))
        .collect())
}

/// Target of an interactive command.
struct Target<'a> {
    project: &'a Project,
    env: &'a EnvName,
    user: UserName,
    /// Forward the SSH agent.
    agent: bool,
}

/// Runs a command with the streams of this process.
async fn enter(
    context: &Context,
    target: Target<'_>,
    command: impl FnOnce(&UserName, BTreeMap<String, String>) -> ExecSpec,
) -> Result<u8> {
    let Target {
        project, env, user, ..
    } = &target;
    let running_env = context.operations.running_env(project, env).await?;
    let mut variables = variables(context, project, env)?;
    let forwarded = if target.agent {
        Some(forward_agent(context, &target).await?)
    } else {
        None
    };
    if let Some(forwarded) = &forwarded {
        variables.insert(AGENT_VARIABLE.to_owned(), forwarded.guest_path().to_owned());
    }
    let mut spec = command(user, variables);
    let interactive = terminal::is_interactive();
    if interactive {
        spec.terminal = Some(terminal::window_size());
        let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm-256color".to_owned());
        spec.environment.insert("TERM".to_owned(), kind);
    }
    let session = interactive.then(|| context.operations.open_session(project, env));
    if let Some(Err(error)) = &session {
        // Only the confirmation before the env is stopped depends on it.
        tracing::warn!(?error, "cannot register the terminal session");
    }
    let raw = if interactive { RawMode::enter() } else { None };
    let code = running_env
        .exec(&spec, terminal::streams(interactive))
        .await;
    drop((raw, session));
    if let Some(forwarded) = forwarded
        && let Err(error) = context.operations.end_socket_forward(forwarded).await
    {
        // The next operation rolls it back.
        context.printer.error(&error);
    }
    Ok(u8::try_from(code?).unwrap_or(EXEC_FAILED))
}

async fn forward_agent(context: &Context, target: &Target<'_>) -> Result<ForwardedSocket> {
    let Target {
        project, env, user, ..
    } = target;
    let socket = std::env::var_os(AGENT_VARIABLE).filter(|path| !path.is_empty());
    let socket = socket.ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            "no SSH agent: `SSH_AUTH_SOCK` is not set",
        )
        .with_hint("start one: `eval $(ssh-agent) && ssh-add`")
    })?;
    let socket = std::path::absolute(socket)
        .map_err(|error| Error::io("cannot resolve the path of the SSH agent", error))?;
    let forwarded = context
        .operations
        .forward_socket(project, env, user, &socket);
    let forwarded = forwarded
        .await
        .map_err(|error| error.context("cannot forward the SSH agent"))?;
    watch_over(&forwarded)?;
    Ok(forwarded)
}

/// Starts the process that ends a forward if this one is killed.
fn watch_over(forwarded: &ForwardedSocket) -> Result<()> {
    let failed = |error| Error::io("cannot watch over the SSH agent", error);
    std::process::Command::new(std::env::current_exe().map_err(failed)?)
        .args(["end-forward", forwarded.id().as_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Not ended by the terminal's signals.
        .process_group(0)
        .spawn()
        .map(drop)
        .map_err(failed)
}

/// Waits for the end of a forward.
pub(crate) async fn end_forward(context: &Context, args: EndForward) -> Result<()> {
    let _hang_up = signal(SignalKind::hangup())
        .map_err(|error| Error::io("cannot listen for signals", error))?;
    context.operations.end_orphaned_forward(&args.id).await
}
