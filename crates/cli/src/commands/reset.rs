//! `container reset`

use lxc_dev_manager_core::Result;
use serde_json::json;

use crate::args::Reset;
use crate::confirm;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Reset) -> Result<()> {
    let project = context.project()?;
    // Without a terminal it goes on, as the original's scripts expect, and says what it did.
    let can_ask = !args.force && crate::terminal::is_interactive();
    if can_ask
        && !context
            .engine
            .restore_can_be_undone(&project, &args.name)
            .await?
    {
        let goes = format!(
            "What `{}` is now can't be kept on this storage pool.",
            args.name
        );
        confirm::ask(&goes, &format!("Restore it to `{}`?", args.snapshot))?;
    }
    let restored = context.engine.restore(&project, &args.name, &args.snapshot);
    let restored = progress::show(context, restored).await?;
    let data = json!({
        "env": args.name,
        "snapshot": args.snapshot,
        "status": if restored.running { "running" } else { "stopped" },
        "undoable": restored.undoable,
    });
    context.printer.done(&data, |printer| {
        let head = format!(
            "Restored {} to {}",
            printer.bold(args.name.as_str()),
            args.snapshot
        );
        if restored.undoable {
            format!(
                "{head}\n{}",
                printer.dim(&format!("undo: lxc-dev-manager undo {}", args.name))
            )
        } else {
            format!(
                "{head}\n{}",
                printer.dim("this can't be undone: its storage pool can't keep what it was")
            )
        }
    });
    Ok(())
}
