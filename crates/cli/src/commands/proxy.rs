//! `proxy`

use std::sync::Arc;

use lxc_dev_manager_core::model::GuestPort;
use lxc_dev_manager_core::proxy::{self, Dial};
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::EnvOnly;
use crate::context::Context;

pub(crate) async fn run(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    let ports = project.file().ports(&args.name)?;
    let entrance = context.engine.enter(&project, &args.name).await?;
    if ports.is_empty() {
        return Err(
            Error::new(ErrorKind::Config, format!("`{}` has no ports", args.name))
                .with_hint("write `ports: [8000]` into its entry in containers.yaml"),
        );
    }
    // One whose network can't be reached from here is refused at once.
    entrance.route().await?;
    let dial = |port: GuestPort| -> Dial {
        let entrance = entrance.clone();
        Arc::new(move || {
            let entrance = entrance.clone();
            Box::pin(async move { entrance.dial(port).await })
        })
    };
    let mut bound = Vec::new();
    for port in ports {
        match proxy::bind(port.on_host()).await {
            Ok(listeners) => bound.push((port, listeners)),
            Err(error) => context.printer.error(&error),
        }
    }
    if bound.is_empty() {
        return Err(Error::new(
            ErrorKind::Conflict,
            "none of its ports can be forwarded",
        ));
    }
    let shutdown = CancellationToken::new();
    let forwards = TaskTracker::new();
    for (port, listeners) in bound {
        let host = listeners.port();
        let data = json!({ "env": args.name, "guest": port, "host": host,
            "url": format!("http://127.0.0.1:{host}/") });
        context.printer.line(&data, |printer| {
            let url = printer.bold(&format!("http://127.0.0.1:{host}/"));
            format!("{url} → {}:{port}", args.name)
        });
        forwards.spawn(proxy::serve(listeners, shutdown.clone(), dial(port)));
    }
    context.printer.status("Forwarding until Ctrl+C");
    stopped().await;
    shutdown.cancel();
    forwards.close();
    forwards.wait().await;
    Ok(())
}

/// Resolves at Ctrl+C, and when the process is asked to end.
async fn stopped() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
