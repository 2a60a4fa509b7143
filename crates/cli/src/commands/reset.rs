//! `container reset`

use lxc_dev_manager_core::Result;
use serde_json::json;

use super::remove::lost;
use crate::args::Reset;
use crate::confirm;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Reset) -> Result<()> {
    let project = context.project()?;
    // Without a terminal it goes on, as the original's scripts expect, and says what it did.
    let can_ask = !args.force && crate::terminal::is_interactive();
    if can_ask {
        let keeping = context
            .operations
            .restore_keeps(&project, &args.name)
            .await?;
        if let Some(why) = lost(keeping) {
            let goes = format!("What `{}` is now is not kept: {why}.", args.name);
            confirm::ask(&goes, &format!("Restore it to `{}`?", args.snapshot))?;
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
            format!(
                "{head}\n{}",
                printer.dim("this can't be undone: what it was is not kept")
            )
        }
    });
    Ok(())
}
