//! `exec` and `ssh`: the guest's exit code is ours.

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::backend::{ExecIo, ExecSpec};
use lxc_dev_manager_core::model::{EnvName, EnvPattern, UserName};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::provision;

use super::EXEC_FAILED;
use super::several::chosen;
use crate::args::{Exec, Ssh};
use crate::context::Context;
use crate::labelled::Labelled;
use crate::terminal::{self, RawMode};

pub(crate) async fn run(context: &Context, args: Exec) -> Result<u8> {
    let project = context.project()?;
    let EnvPattern::Name(name) = &args.name else {
        return several(context, &project, args).await;
    };
    let user = user(&project, name, args.user)?;
    enter(
        context,
        &project,
        name,
        provision::as_user(&user, &args.command),
    )
    .await
}

/// Runs a command in all matching envs at once, without input. Each line bears the name of its env.
async fn several(context: &Context, project: &Project, args: Exec) -> Result<u8> {
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
    let entrance = context.engine.enter(project, name).await?;
    let mut spec = provision::as_user(&user, command);
    add_variables(project, name, &mut spec)?;
    let label = context.printer.dim(&format!("{name:width$} | "));
    let io = ExecIo::new(
        tokio::io::empty(),
        Labelled::new(label.clone(), tokio::io::stdout()),
        Labelled::new(label, tokio::io::stderr()),
    );
    entrance.exec(&spec, io).await
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

/// Variables of this process that the file wants in the env, where they are set.
fn add_variables(project: &Project, env: &EnvName, spec: &mut ExecSpec) -> Result<()> {
    for name in project.file().host_variables(env)? {
        if let Ok(value) = std::env::var(name.as_str()) {
            spec.environment.insert(name.to_string(), value);
        }
    }
    Ok(())
}

async fn enter(
    context: &Context,
    project: &Project,
    env: &EnvName,
    mut spec: ExecSpec,
) -> Result<u8> {
    let entrance = context.engine.enter(project, env).await?;
    add_variables(project, env, &mut spec)?;
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
