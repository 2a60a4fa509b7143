//! `exec` and `ssh`: the guest's exit code is ours.

use std::collections::BTreeMap;

use lxc_dev_manager_core::backend::{ExecIo, ExecSpec};
use lxc_dev_manager_core::model::{EnvName, EnvPattern, UserName};
use lxc_dev_manager_core::operations::ForwardedSocket;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::provision;
use lxc_dev_manager_core::{Error, ErrorKind, Result};

use super::EXEC_FAILED;
use super::multi_env::chosen;
use crate::args::{Exec, Ssh};
use crate::context::Context;
use crate::prefixed_writer::PrefixedWriter;
use crate::terminal::{self, RawMode};

/// Where the SSH agent is, here and there.
const AGENT: &str = "SSH_AUTH_SOCK";

pub(crate) async fn run(context: &Context, args: Exec) -> Result<u8> {
    let project = context.project()?;
    let EnvPattern::Name(name) = &args.name else {
        return several(context, &project, args).await;
    };
    let visit = Visit {
        user: user(&project, name, args.user)?,
        project: &project,
        env: name,
        agent: args.agent,
    };
    let command = args.command;
    enter(context, visit, |user, environment| ExecSpec {
        environment,
        ..provision::as_user(user, &command)
    })
    .await
}

/// Runs a command in all matching envs at once, without input. Each line bears the name of its env.
async fn several(context: &Context, project: &Project, args: Exec) -> Result<u8> {
    if args.agent {
        let message = "the SSH agent goes into one env at a time";
        return Err(Error::new(ErrorKind::Unsupported, message).with_hint("name one env"));
    }
    let names = chosen(project, std::slice::from_ref(&args.name))?;
    let widest = names.iter().map(|name| name.as_str().len()).max();
    let all = names.iter().map(|name| {
        let (user, command) = (args.user.clone(), &args.command);
        async move {
            let ran = one_of_several(context, project, name, user, command, widest.unwrap_or(0));
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

async fn one_of_several(
    context: &Context,
    project: &Project,
    name: &EnvName,
    asked: Option<UserName>,
    command: &[String],
    width: usize,
) -> Result<i32> {
    let user = user(project, name, asked)?;
    let running_env = context.operations.enter(project, name).await?;
    let mut spec = provision::as_user(&user, command);
    spec.environment = variables(project, name)?;
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
    let visit = Visit {
        user: user(&project, &args.name, args.user)?,
        project: &project,
        env: &args.name,
        agent: args.agent,
    };
    enter(context, visit, provision::login_shell).await
}

fn user(project: &Project, env: &EnvName, asked: Option<UserName>) -> Result<UserName> {
    match asked {
        Some(user) => Ok(user),
        None => Ok(project.file().user(env)?.name),
    }
}

/// Variables of this process that the file wants in the env, where they are set.
fn variables(project: &Project, env: &EnvName) -> Result<BTreeMap<String, String>> {
    let names = project.file().host_variables(env)?.into_iter();
    Ok(names
        .filter_map(|name| Some((name.to_string(), std::env::var(name.as_str()).ok()?)))
        .collect())
}

/// What is opened in an env.
struct Visit<'a> {
    project: &'a Project,
    env: &'a EnvName,
    user: UserName,
    /// Take the SSH agent along.
    agent: bool,
}

/// Runs a command that a user and variables make, with this process's own streams.
async fn enter(
    context: &Context,
    visit: Visit<'_>,
    command: impl FnOnce(&UserName, BTreeMap<String, String>) -> ExecSpec,
) -> Result<u8> {
    let Visit {
        project, env, user, ..
    } = &visit;
    let running_env = context.operations.enter(project, env).await?;
    let mut variables = variables(project, env)?;
    let forwarded = match visit.agent {
        true => Some(lend_agent(context, &visit).await?),
        false => None,
    };
    if let Some(forwarded) = &forwarded {
        variables.insert(AGENT.to_owned(), forwarded.guest_path().to_owned());
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
        // What it is for: that who stops the env is asked before.
        tracing::warn!(?error, "this session is not known to others");
    }
    let raw = if interactive { RawMode::enter() } else { None };
    let code = running_env
        .exec(&spec, terminal::streams(interactive))
        .await;
    drop((raw, session));
    if let Some(forwarded) = forwarded
        && let Err(error) = context.operations.end_socket_forward(forwarded).await
    {
        // The next change takes it back.
        context.printer.error(&error);
    }
    Ok(u8::try_from(code?).unwrap_or(EXEC_FAILED))
}

async fn lend_agent(context: &Context, visit: &Visit<'_>) -> Result<ForwardedSocket> {
    let Visit {
        project, env, user, ..
    } = visit;
    let socket = std::env::var_os(AGENT).filter(|path| !path.is_empty());
    let socket = socket.ok_or_else(|| {
        Error::new(ErrorKind::Config, "no SSH agent is known here")
            .with_hint("start one: `eval $(ssh-agent)`, and `ssh-add`")
    })?;
    let socket = std::path::absolute(socket)
        .map_err(|error| Error::io("the SSH agent's path can't be used", error))?;
    let forwarded = context
        .operations
        .forward_socket(project, env, user, &socket);
    forwarded
        .await
        .map_err(|error| error.context("the SSH agent can't be used there"))
}
