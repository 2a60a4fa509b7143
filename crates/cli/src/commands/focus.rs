//! `focus`

use lxc_dev_manager_core::forward::{FocusRequest, Forwarder, no_such_port, remember_focus};
use lxc_dev_manager_core::view::FocusMove;
use lxc_dev_manager_core::{ErrorKind, Result};
use serde_json::json;

use crate::args::Focus;
use crate::context::Context;

pub(crate) async fn run(context: &Context, args: Focus) -> Result<()> {
    let project = context.project()?;
    let ports = project.file().ports(&args.name)?;
    let env = context.operations.known_env(&project, &args.name)?;
    let request = FocusRequest {
        env: env.clone(),
        port: args.port,
        cut: args.cut,
    };
    let home = context.operations.home();
    let moves = match Forwarder::connect(home).await {
        Ok(forwarder) => forwarder.focus(request).await?,
        Err(error) if error.kind() == ErrorKind::Unreachable => {
            let requested = match args.port {
                Some(port) if ports.contains(&port) => vec![port],
                Some(port) => return Err(no_such_port(&args.name, port)),
                None => ports,
            };
            context
                .printer
                .status("Nothing is forwarded; applies from the next `proxy`");
            remember_focus(home, &env, &requested)?
        }
        Err(error) => return Err(error),
    };
    let data = json!({ "env": args.name, "moves": moves });
    context.printer.done(&data, |_| {
        let lines = moves.iter().map(|moved| line(args.name.as_str(), moved));
        lines.collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

/// Describes a change of a default target.
pub(super) fn line(name: &str, moved: &FocusMove) -> String {
    let port = moved.port;
    match (&moved.from, moved.open_connections) {
        (Some(from), Some(1)) => format!(
            "{port} stays at {}: one non-HTTP connection is open. Move it: `lxc-dev-manager focus {name} {port}`",
            from.env
        ),
        (Some(from), Some(open)) => format!(
            "{port} stays at {}: {open} non-HTTP connections are open. Move it: `lxc-dev-manager focus {name} {port}`",
            from.env
        ),
        (Some(from), None) => format!("{port} now goes to {name}, previously to {}", from.env),
        (None, _) => format!("{port} now goes to {name}"),
    }
}
