//! `container reset`

use lxc_dev_manager_core::Result;
use serde_json::json;

use super::remove::why_not_undoable;
use crate::args::Reset;
use crate::confirm;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Reset) -> Result<()> {
    let project = context.project()?;
    // Scripts of the original CLI expect no question without a terminal.
    let can_ask = !args.force && crate::terminal::is_interactive();
    if can_ask {
        let policy = context
            .operations
            .restore_undo_policy(&project, &args.name)
            .await?;
        if let Some(reason) = why_not_undoable(policy) {
            let losses = format!("The current state of `{}` is lost: {reason}.", args.name);
            confirm::ask(&losses, &format!("Restore it to `{}`?", args.snapshot))?;
        }
    }
    let restored = context
        .operations
        .restore(&project, &args.name, &args.snapshot);
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
            format!("{head}\n{}", printer.dim("cannot be undone: no undo copy"))
        }
    });
    Ok(())
}
