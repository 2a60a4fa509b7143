//! `container create`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::Limits;
use lxc_dev_manager_core::operations::{CreateRequest, Created};
use serde_json::json;

use crate::args::{CreateEnv, Ports};
use crate::context::Context;
use crate::output::Printer;
use crate::progress;

pub(crate) async fn run(context: &Context, args: CreateEnv) -> Result<()> {
    let mut project = context.project()?;
    let env = args.name.clone();
    let request = CreateRequest {
        env: args.name,
        image: args.image,
        ports: Ports::joined(args.ports),
        user: args.user,
        limits: Limits {
            cpus: args.cpus,
            memory: args.memory,
            disk: args.disk,
        },
        keep: args.keep,
    };
    let cancel = context.cancelled_by_interrupt();
    let made = context.operations.create(&mut project, request, &cancel);
    let made = progress::show(context, made).await?;
    let data = json!({
        "project": project.name(),
        "env": env,
        "instance": made.instance,
        "engine": made.engine,
        "image": made.image,
        "address": made.address,
        "user": made.user,
    });
    context
        .printer
        .done(&data, |printer| text(printer, env.as_str(), &made));
    Ok(())
}

fn text(printer: &Printer, env: &str, made: &Created) -> String {
    let (user, name) = (&made.user, printer.bold(env));
    // Where an engine gives out no address, its envs are entered by name alone.
    let (address, way) = match made.address {
        Some(address) => (format!(" {address},"), format!(", or ssh {user}@{address}")),
        None => (String::new(), String::new()),
    };
    format!(
        "{name} is ready: instance {} in {},{address} user {user}\n{}",
        made.instance,
        made.engine,
        printer.dim(&format!("next: lxc-dev-manager ssh {env}{way}"))
    )
}
