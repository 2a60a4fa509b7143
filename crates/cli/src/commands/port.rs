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
    let ports = edit(context, args, |ports| match ports.contains(&port) {
        true => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("`{name}` has port {port} already"),
        )),
        false => {
            ports.push(port);
            Ok(())
        }
    })?;
    let data = json!({ "env": name, "ports": ports });
    context
        .printer
        .done(&data, |_| format!("{name} has port {port} now"));
    Ok(())
}

fn remove(context: &Context, args: &EditPort) -> Result<()> {
    let (name, port) = (&args.name, args.port);
    let ports = edit(context, args, |ports| match ports.contains(&port) {
        true => {
            ports.retain(|known| *known != port);
            Ok(())
        }
        false => Err(Error::new(
            ErrorKind::NotFound,
            format!("`{name}` has no port {port}"),
        )),
    })?;
    let data = json!({ "env": name, "ports": ports });
    context
        .printer
        .done(&data, |_| format!("{name} has port {port} no longer"));
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
    let seat = Forwarder::at_holder(context.operations.home()).await;
    let seat = seat.map_err(|error| match error.kind() {
        ErrorKind::Unreachable => Error::new(
            ErrorKind::NotFound,
            format!("port {port} isn't forwarded: nothing is"),
        ),
        _ => error,
    })?;
    seat.release(port).await?;
    context
        .printer
        .done(&json!({ "host": port }), |_| format!("{port} is free"));
    Ok(())
}
