//! `port add`, `port remove` and `port release`

use lxc_dev_manager_core::forward::Forwarder;
use lxc_dev_manager_core::model::GuestPort;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::{EditPort, PortCommand, ReleasePort};
use crate::context::Context;

pub(crate) async fn run(context: &Context, command: PortCommand) -> Result<()> {
    match command {
        PortCommand::Add(args) => add(context, &args),
        PortCommand::Remove(args) => remove(context, &args),
        PortCommand::Release(args) => release(context, args).await,
    }
}

fn add(context: &Context, args: &EditPort) -> Result<()> {
    let (name, port) = (&args.name, args.port);
    let ports = edit(context, args, |ports| {
        if ports.contains(&port) {
            Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("`{name}` already has port {port}"),
            ))
        } else {
            ports.push(port);
            Ok(())
        }
    })?;
    let data = json!({ "env": name, "ports": ports });
    context
        .printer
        .done(&data, |_| format!("Added port {port} to {name}"));
    Ok(())
}

fn remove(context: &Context, args: &EditPort) -> Result<()> {
    let (name, port) = (&args.name, args.port);
    let ports = edit(context, args, |ports| {
        if ports.contains(&port) {
            ports.retain(|known| *known != port);
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::NotFound,
                format!("`{name}` has no port {port}"),
            ))
        }
    })?;
    let data = json!({ "env": name, "ports": ports });
    context
        .printer
        .done(&data, |_| format!("Removed port {port} from {name}"));
    Ok(())
}

fn edit(
    context: &Context,
    args: &EditPort,
    change: impl Fn(&mut Vec<GuestPort>) -> Result<()>,
) -> Result<Vec<GuestPort>> {
    let mut project = context.project()?;
    context.operations.known_env(&project, &args.name)?;
    project.change_ports(&args.name, change)
}

async fn release(context: &Context, args: ReleasePort) -> Result<()> {
    let port = args.port;
    let forwarder = Forwarder::connect(context.operations.home()).await;
    let forwarder = forwarder.map_err(|error| match error.kind() {
        ErrorKind::Unreachable => {
            Error::new(ErrorKind::NotFound, format!("port {port} is not forwarded"))
        }
        _ => error,
    })?;
    forwarder.release(port).await?;
    context.printer.done(&json!({ "host": port }), |_| {
        format!("Released port {port}")
    });
    Ok(())
}
