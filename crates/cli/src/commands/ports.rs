//! `ports`

use lxc_dev_manager_core::backend::Listener;
use lxc_dev_manager_core::forward::list_brief;
use lxc_dev_manager_core::model::{EnvName, GuestPort, PortState};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::view::ForwardView;
use lxc_dev_manager_core::{ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

use super::multi_env;
use crate::args::ListPorts;
use crate::context::Context;
use crate::output::Printer;
use crate::table::{Cell, render};

/// A port that an env has in the file, or that something in it listens on.
#[derive(Serialize)]
struct Row {
    env: EnvName,
    guest: GuestPort,
    /// Whether the file gives it to the env.
    configured: bool,
    /// Who listens; `null` where nobody does, or where the env doesn't run.
    listener: Option<Listener>,
    forward: Option<ForwardView>,
    /// The engine forwards it, and nobody else does.
    native: bool,
    #[serde(skip)]
    up: bool,
}

pub(crate) async fn run(context: &Context, args: ListPorts) -> Result<()> {
    let project = context.project()?;
    let names = multi_env::chosen(&project, &multi_env::or_all(args.names))?;
    let forwards = list_brief(context.operations.home()).await;
    let looked = names
        .iter()
        .map(|name| rows(context, &project, name, &forwards));
    let mut all = Vec::new();
    for rows in futures_util::future::join_all(looked).await {
        all.extend(rows?);
    }
    let data = json!({ "ports": all });
    context.printer.data(&data, |printer| text(printer, &all));
    Ok(())
}

async fn rows(
    context: &Context,
    project: &Project,
    name: &EnvName,
    forwards: &[ForwardView],
) -> Result<Vec<Row>> {
    let env = context.operations.known_env(project, name)?;
    let configured = project.file().ports(name)?;
    let listeners = match context.operations.enter(project, name).await {
        Ok(running_env) => Some(running_env.listeners().await?),
        // One that doesn't run, or isn't there, has ports in the file all the same.
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => None,
        Err(error) => return Err(error),
    };
    let native = context.operations.native_ports(project, name).await;
    let up = listeners.is_some();
    let listeners = listeners.unwrap_or_default();
    let mut ports = configured.clone();
    let others = listeners.iter().map(|listener| listener.port);
    ports.extend(others.filter(|port| !configured.contains(port)));
    let row = |guest: GuestPort| {
        let of_port = |forward: &&ForwardView| forward.env == env && forward.guest == guest;
        Row {
            env: name.clone(),
            guest,
            configured: configured.contains(&guest),
            listener: listeners.iter().find(|known| known.port == guest).cloned(),
            forward: forwards.iter().find(of_port).cloned(),
            native: native.contains(&guest),
            up,
        }
    };
    Ok(ports.into_iter().map(row).collect())
}

fn text(printer: &Printer, rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No ports\n".to_owned();
    }
    let head = ["ENV", "PORT", "LISTENING", "FORWARDED", "OWN PORT"];
    let head = head.map(|word| Cell::styled(printer.dim(word), word));
    let mut table = vec![Vec::from(head)];
    table.extend(rows.iter().map(|row| cells(printer, row)));
    let mut text = render(&table);
    for problem in rows
        .iter()
        .filter_map(|row| row.forward.as_ref()?.problem.as_ref())
    {
        text.push_str(&format!("{}\n", printer.bad(&problem.message)));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("  {}\n", printer.dim(hint)));
        }
    }
    text
}

fn cells(printer: &Printer, row: &Row) -> Vec<Cell> {
    let listening = match (&row.listener, row.up) {
        (Some(listener), _) => who(listener),
        (None, true) => "-".to_owned(),
        (None, false) => "not running".to_owned(),
    };
    let forwarded = match &row.forward {
        Some(forward) if forward.state == PortState::Taken => {
            Cell::styled(printer.bad("taken"), "taken")
        }
        Some(forward) if forward.focused => {
            let url = forward.shared_url();
            Cell::styled(printer.good(&url), &url)
        }
        Some(forward) => Cell::plain(forward.url()),
        None if row.native => Cell::plain("by the engine itself"),
        None if row.configured => Cell::plain("-"),
        None => Cell::plain("not in the file"),
    };
    let own = row.forward.as_ref().and_then(|forward| forward.stable);
    let own = own.map(|port| port.to_string());
    vec![
        Cell::plain(row.env.as_str()),
        Cell::plain(row.guest.to_string()),
        Cell::plain(listening),
        forwarded,
        Cell::plain(own.unwrap_or_else(|| "-".to_owned())),
    ]
}

/// Who listens where: `python3 on 127.0.0.1`.
fn who(listener: &Listener) -> String {
    let addresses: Vec<String> = listener.addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(", ");
    match &listener.process {
        Some(process) => format!("{} on {addresses}", process.name),
        None => addresses,
    }
}
