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
    let created = context.operations.create(&mut project, request, &cancel);
    let created = progress::show(context, created).await?;
    let data = json!({
        "project": project.name(),
        "env": env,
        "instance": created.instance,
        "engine": created.engine,
        "image": created.image,
        "address": created.address,
        "user": created.user,
    });
    context
        .printer
        .done(&data, |printer| text(printer, env.as_str(), &created));
    Ok(())
}

fn text(printer: &Printer, env: &str, created: &Created) -> String {
    let (user, name) = (&created.user, printer.bold(env));
    let (address, alternative) = match created.address {
        Some(address) => (format!(" {address},"), format!(", or ssh {user}@{address}")),
        None => (String::new(), String::new()),
    };
    format!(
        "Created {name}: instance {} in {},{address} user {user}\n{}",
        created.instance,
        created.engine,
        printer.dim(&format!("next: lxc-dev-manager ssh {env}{alternative}"))
    )
}
