//! `open`

use lxc_dev_manager_core::forward::{Forwarder, browser_url};
use lxc_dev_manager_core::view::ForwardView;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::Open;
use crate::context::Context;

pub(crate) async fn run(context: &Context, args: Open) -> Result<()> {
    let project = context.project()?;
    let name = &args.name;
    let env = context.operations.known_env(&project, name)?;
    let not_forwarded = |message: String| {
        Error::new(ErrorKind::NotFound, message)
            .with_hint(format!("forward it: `lxc-dev-manager proxy {name}`"))
    };
    let forwarder = Forwarder::connect(context.operations.home()).await;
    let forwarder = forwarder.map_err(|error| match error.kind() {
        ErrorKind::Unreachable => not_forwarded(format!("no port of `{name}` is forwarded")),
        _ => error,
    })?;
    let forwards = forwarder.forwards().await?;
    let order = project.file().ports(name)?;
    let requested = args.port;
    let mut of_env: Vec<&ForwardView> = forwards
        .iter()
        .filter(|forward| forward.env == env && requested.is_none_or(|port| port == forward.guest))
        .collect();
    of_env.sort_by_key(|forward| order.iter().position(|port| *port == forward.guest));
    let forward = of_env.first().ok_or_else(|| match requested {
        Some(port) => not_forwarded(format!("port {port} of `{name}` is not forwarded")),
        None => not_forwarded(format!("no port of `{name}` is forwarded")),
    })?;
    let url = browser_url(forward);
    let opened = open::that_detached(&url);
    opened.map_err(|error| {
        Error::new(ErrorKind::NotFound, "cannot open a browser")
            .with_hint(format!("open this address: {url}"))
            .caused_by(error)
    })?;
    context
        .printer
        .done(&json!({ "env": name, "url": url }), |_| url.clone());
    Ok(())
}
