//! `up`, `down` and `restart`

use std::net::IpAddr;

use lxc_dev_manager_core::model::{EngineKind, EnvName};
use lxc_dev_manager_core::operations::{CreateRequest, Started, Stopped};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::{ErrorKind, Result};
use serde_json::json;

use super::multi_env::{Done, each, or_all};
use super::sessions;
use crate::args::{Envs, Up};
use crate::context::Context;

pub(crate) async fn up(context: &Context, args: Up) -> Result<u8> {
    let project = context.project()?;
    let patterns = or_all(args.names);
    each(context, &project, &patterns, async |project, env| {
        start_or_make(context, project, env).await
    })
    .await
}

/// An env that only the file names is made: a colleague's clone has none yet.
async fn start_or_make(context: &Context, mut project: Project, env: EnvName) -> Result<Done> {
    let missing = match context.operations.start(&project, &env).await {
        Ok(started) => return Ok(running(context, &env, started, false)),
        Err(error) => error,
    };
    // As it is by now: what was mended meanwhile may have given the env another name.
    project = project.fresh()?;
    let named = project.file().image(&env).is_some();
    if missing.kind() != ErrorKind::NotFound || !named {
        return Err(missing);
    }
    let status = format!("{env} is in the file, but not in the engine: making it");
    context.printer.status(&status);
    let request = CreateRequest::of_file(env.clone());
    let cancel = context.cancelled_by_interrupt();
    let made = context
        .operations
        .create(&mut project, request, &cancel)
        .await?;
    let started = Started {
        already: false,
        address: made.address,
        is_addressed: made.address.is_some() || made.engine != EngineKind::Lima,
    };
    Ok(running(context, &env, started, true))
}

fn running(context: &Context, env: &EnvName, started: Started, made: bool) -> Done {
    let name = context.printer.bold(env.as_str());
    let with = |text: &str, address: Option<IpAddr>| match address {
        Some(address) => format!("{name} {text}, {address}"),
        None if started.already || !started.is_addressed => format!("{name} {text}"),
        None => format!("{name} {text}; it got no address yet"),
    };
    let text = match (started.already, made) {
        (true, _) => "is running already",
        (false, true) => "is made and running",
        (false, false) => "is running",
    };
    Done {
        data: json!({
            "env": env,
            "status": "running",
            "already": started.already,
            "made": made,
            "address": started.address,
        }),
        text: with(text, started.address),
    }
}

pub(crate) async fn down(context: &Context, args: Envs) -> Result<u8> {
    let project = context.project()?;
    if !args.force {
        sessions::ask(context, &project, &args.names, "Stop nevertheless?")?;
    }
    each(context, &project, &args.names, async |project, env| {
        let stopped = context.operations.stop(&project, &env).await?;
        Ok(down_text(context, &env, stopped))
    })
    .await
}

fn down_text(context: &Context, env: &EnvName, stopped: Stopped) -> Done {
    let name = context.printer.bold(env.as_str());
    Done {
        data: json!({
            "env": env,
            "status": "stopped",
            "already": stopped.already,
            "killed": stopped.killed,
        }),
        text: match (stopped.already, stopped.killed) {
            (true, _) => format!("{name} is stopped already"),
            (false, true) => format!("{name} is stopped; its init didn't end, so it was killed"),
            (false, false) => format!("{name} is stopped"),
        },
    }
}

pub(crate) async fn restart(context: &Context, args: Envs) -> Result<u8> {
    let project = context.project()?;
    if !args.force {
        sessions::ask(context, &project, &args.names, "Restart nevertheless?")?;
    }
    each(context, &project, &args.names, async |project, env| {
        let started = context.operations.restart(&project, &env).await?;
        Ok(running(context, &env, started, false))
    })
    .await
}
