//! `exec` and `ssh`: the guest's exit code is ours.

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::backend::ExecSpec;
use lxc_dev_manager_core::model::{EnvName, UserName};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::provision;

use super::EXEC_FAILED;
use crate::args::{Exec, Ssh};
use crate::context::Context;
use crate::terminal::{self, RawMode};

pub(crate) async fn run(context: &Context, args: Exec) -> Result<u8> {
    let project = context.project()?;
    let user = user(&project, &args.name, args.user)?;
    enter(
        context,
        &project,
        &args.name,
        provision::as_user(&user, &args.command),
    )
    .await
}

pub(crate) async fn ssh(context: &Context, args: Ssh) -> Result<u8> {
    let project = context.project()?;
    let user = user(&project, &args.name, args.user)?;
    enter(context, &project, &args.name, provision::login_shell(&user)).await
}

fn user(project: &Project, env: &EnvName, asked: Option<UserName>) -> Result<UserName> {
    match asked {
        Some(user) => Ok(user),
        None => Ok(project.file().user(env)?.name),
    }
}

async fn enter(
    context: &Context,
    project: &Project,
    env: &EnvName,
    mut spec: ExecSpec,
) -> Result<u8> {
    let entrance = context.engine.enter(project, env).await?;
    let interactive = terminal::is_interactive();
    if interactive {
        spec.terminal = Some(terminal::window_size());
        let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm-256color".to_owned());
        spec.environment.insert("TERM".to_owned(), kind);
    }
    let raw = if interactive { RawMode::enter() } else { None };
    let code = entrance.exec(&spec, terminal::streams(interactive)).await;
    drop(raw);
    Ok(u8::try_from(code?).unwrap_or(EXEC_FAILED))
}
