//! `undo`

use lxc_dev_manager_core::Result;
use serde_json::json;

use crate::args::Undo;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Undo) -> Result<()> {
    let mut project = context.project()?;
    let undone = context.engine.undo(&mut project, args.name.as_ref());
    let env = progress::show(context, undone).await?;
    context.printer.done(&json!({ "env": env }), |printer| {
        format!("{} is as it was before", printer.bold(env.as_str()))
    });
    Ok(())
}
