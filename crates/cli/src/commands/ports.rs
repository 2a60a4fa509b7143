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
use crate::table::{or_dash, render};

/// A port of an env: configured, listening, or both.
#[derive(Serialize)]
struct Row {
    env: EnvName,
    guest: GuestPort,
    /// Listed in the file.
    configured: bool,
    /// `null` if nothing listens, or the env is not running.
    listener: Option<Listener>,
    forward: Option<ForwardView>,
    /// Forwarded by the engine itself.
    native: bool,
    #[serde(skip)]
    running: bool,
}

pub(crate) async fn run(context: &Context, args: ListPorts) -> Result<()> {
    let project = context.project()?;
    let names = multi_env::matching_envs(&project, &multi_env::or_all(args.names))?;
    let forwards = list_brief(context.operations.home()).await;
    let rows = names
        .iter()
        .map(|name| rows(context, &project, name, &forwards));
    let mut all = Vec::new();
    for rows in futures_util::future::join_all(rows).await {
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
    let listeners = match context.operations.running_env(project, name).await {
        Ok(running_env) => Some(running_env.listeners().await?),
        // Without a running env, the ports of the file remain.
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => None,
        Err(error) => return Err(error),
    };
    let native = context.operations.native_ports(project, name).await;
    let running = listeners.is_some();
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
            running,
        }
    };
    Ok(ports.into_iter().map(row).collect())
}

fn text(printer: &Printer, rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No ports\n".to_owned();
    }
    let head = ["ENV", "PORT", "LISTENING", "FORWARDED", "OWN PORT"];
    let table = rows.iter().map(|row| cells(printer, row)).collect();
    let mut text = render(printer, &head, table);
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

fn cells(printer: &Printer, row: &Row) -> Vec<String> {
    let listening = match (&row.listener, row.running) {
        (Some(listener), _) => describe(listener),
        (None, true) => "-".to_owned(),
        (None, false) => "not running".to_owned(),
    };
    let forwarded = match &row.forward {
        Some(forward) if forward.state == PortState::Taken => printer.bad("in use"),
        Some(forward) if forward.focused => {
            let url = forward.shared_url();
            printer.good(&url)
        }
        Some(forward) => forward.url(),
        None if row.native => "by the engine".to_owned(),
        None if row.configured => "-".to_owned(),
        None => "not in the file".to_owned(),
    };
    let own = row.forward.as_ref().and_then(|forward| forward.stable);
    vec![
        row.env.to_string(),
        row.guest.to_string(),
        listening,
        forwarded,
        or_dash(own),
    ]
}

/// Process and addresses: `python3 on 127.0.0.1`.
fn describe(listener: &Listener) -> String {
    let addresses: Vec<String> = listener.addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(", ");
    match &listener.process {
        Some(process) => format!("{} on {addresses}", process.name),
        None => addresses,
    }
}
