//! `ports`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::forward::glance;
use lxc_dev_manager_core::view::ForwardView;
use serde_json::json;

use super::several;
use crate::args::ListPorts;
use crate::context::Context;
use crate::table::{Cell, render};

pub(crate) async fn run(context: &Context, args: ListPorts) -> Result<()> {
    let project = context.project()?;
    let names = several::chosen(&project, &several::or_all(args.names))?;
    let forwards = glance(context.engine.home()).await;
    let mut rows = Vec::new();
    for name in &names {
        let env = context.engine.known_env(&project, name)?;
        let ports = project.file().ports(name)?;
        for port in ports {
            let forward = forwards
                .iter()
                .find(|forward| forward.env == env && forward.guest == port);
            rows.push((name.clone(), port, forward.cloned()));
        }
    }
    let data: Vec<_> = rows
        .iter()
        .map(|(name, port, forward)| json!({ "env": name, "guest": port, "forward": forward }))
        .collect();
    context.printer.data(&json!({ "ports": data }), |printer| {
        let head = ["ENV", "PORT", "FORWARDED"].map(|word| Cell::styled(printer.dim(word), word));
        let mut table = vec![Vec::from(head)];
        for (name, port, forward) in &rows {
            let forwarded = forward.as_ref().map_or("-".to_owned(), ForwardView::url);
            table.push(vec![
                Cell::plain(name.as_str()),
                Cell::plain(port.to_string()),
                Cell::plain(forwarded),
            ]);
        }
        render(&table)
    });
    Ok(())
}
