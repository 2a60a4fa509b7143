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
        start_or_create(context, project, env).await
    })
    .await
}

/// Starts an env, or creates one that exists only in the file, as in a fresh checkout.
async fn start_or_create(context: &Context, mut project: Project, env: EnvName) -> Result<Done> {
    let missing = match context.operations.start(&project, &env).await {
        Ok(started) => return Ok(running(context, &env, started, false)),
        Err(error) => error,
    };
    // Recovery may have renamed the env.
    project = project.reopen()?;
    let listed = project.file().image(&env).is_some();
    if missing.kind() != ErrorKind::NotFound || !listed {
        return Err(missing);
    }
    let status = format!("{env} does not exist yet: creating it");
    context.printer.status(&status);
    let request = CreateRequest::new(env.clone());
    let cancel = context.cancelled_by_interrupt();
    let created = context
        .operations
        .create(&mut project, request, &cancel)
        .await?;
    let started = Started {
        already: false,
        address: created.address,
        is_addressed: created.address.is_some() || created.engine != EngineKind::Lima,
    };
    Ok(running(context, &env, started, true))
}

fn running(context: &Context, env: &EnvName, started: Started, created: bool) -> Done {
    let name = context.printer.bold(env.as_str());
    let with_address = |text: String, address: Option<IpAddr>| match address {
        Some(address) => format!("{text}, {address}"),
        None if started.already || !started.is_addressed => text,
        None => format!("{text}; no address yet"),
    };
    let text = match (started.already, created) {
        (true, _) => format!("{name} is already running"),
        (false, true) => format!("Created and started {name}"),
        (false, false) => format!("Started {name}"),
    };
    Done {
        data: json!({
            "env": env,
            "status": "running",
            "already": started.already,
            "made": created,
            "address": started.address,
        }),
        text: with_address(text, started.address),
    }
}

pub(crate) async fn down(context: &Context, args: Envs) -> Result<u8> {
    let project = context.project()?;
    if !args.force {
        sessions::ask(context, &project, &args.names, "Stop anyway?")?;
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
            (true, _) => format!("{name} is already stopped"),
            (false, true) => format!("Stopped {name}; killed because its init did not exit"),
            (false, false) => format!("Stopped {name}"),
        },
    }
}

pub(crate) async fn restart(context: &Context, args: Envs) -> Result<u8> {
    let project = context.project()?;
    if !args.force {
        sessions::ask(context, &project, &args.names, "Restart anyway?")?;
    }
    each(context, &project, &args.names, async |project, env| {
        let started = context.operations.restart(&project, &env).await?;
        Ok(running(context, &env, started, false))
    })
    .await
}
