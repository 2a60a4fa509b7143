//! `up` and `down`

use lxc_dev_manager_core::Result;
use serde_json::json;

use crate::args::EnvOnly;
use crate::context::Context;
use crate::progress;

pub(crate) async fn up(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    let started = progress::show(context, context.engine.start(&project, &args.name)).await?;
    let data = json!({
        "env": args.name,
        "status": "running",
        "already": started.already,
        "address": started.address,
    });
    context.printer.done(&data, |printer| {
        let name = printer.bold(args.name.as_str());
        let address = started.address.map(|address| address.to_string());
        match (started.already, address) {
            (true, Some(address)) => format!("{name} is running already, {address}"),
            (true, None) => format!("{name} is running already"),
            (false, Some(address)) => format!("{name} is running, {address}"),
            (false, None) => format!("{name} is running; it got no address yet"),
        }
    });
    Ok(())
}

pub(crate) async fn down(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    let stopped = progress::show(context, context.engine.stop(&project, &args.name)).await?;
    let data = json!({
        "env": args.name,
        "status": "stopped",
        "already": stopped.already,
        "killed": stopped.killed,
    });
    context.printer.done(&data, |printer| {
        let name = printer.bold(args.name.as_str());
        match (stopped.already, stopped.killed) {
            (true, _) => format!("{name} is stopped already"),
            (false, true) => format!("{name} is stopped; its init didn't end, so it was killed"),
            (false, false) => format!("{name} is stopped"),
        }
    });
    Ok(())
}
