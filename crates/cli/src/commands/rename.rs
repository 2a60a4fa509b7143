//! `rename`

use lxc_dev_manager_core::Result;
use serde_json::json;

use crate::args::Rename;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Rename) -> Result<()> {
    let mut project = context.project()?;
    let renamed = context
        .operations
        .rename(&mut project, &args.name, &args.new);
    let renamed = progress::show(context, renamed).await?;
    let status = if renamed.running {
        "running"
    } else {
        "stopped"
    };
    let data = json!({
        "env": args.new,
        "before": args.name,
        "instance": renamed.instance,
        "status": status,
    });
    context.printer.done(&data, |printer| {
        let new = printer.bold(args.new.as_str());
        format!(
            "Renamed {} to {new}, instance {}",
            args.name, renamed.instance
        )
    });
    Ok(())
}
