//! `gc`

use lxc_dev_manager_core::model::ByteSize;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::Gc;
use crate::confirm;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Gc) -> Result<()> {
    if args.all && !args.force {
        let losses = describe_deletion(context).await?;
        if !losses.is_empty() {
            confirm::ask(&losses.join(" "), "Delete?")?;
        }
    }
    let collected = progress::show(context, context.operations.gc(args.all)).await?;
    let data = json!({
        "deleted": collected.deleted,
        "left": collected.left,
        "leftovers": collected.leftovers,
        "failed": collected.failed,
    });
    context.printer.done(&data, |_| {
        let summary = format!(
            "Deleted the undo copies of {}; {} can still be undone",
            operations(collected.deleted),
            operations(collected.left)
        );
        match collected.leftovers {
            0 => summary,
            count => format!("{summary}; deleted the data of {}", instances(count)),
        }
    });
    if collected.failed.is_empty() {
        return Ok(());
    }
    let message = format!("cannot delete everything: {}", collected.failed.join("; "));
    Err(Error::new(ErrorKind::Engine, message))
}

/// Describes what is lost for good.
async fn describe_deletion(context: &Context) -> Result<Vec<String>> {
    let count = context.operations.undo_entries()?.len();
    let undo = (count > 0).then(|| format!("{} can no longer be undone.", operations(count)));
    // The deletion itself reports engines that are unreachable.
    let left = context.operations.leftovers().await.unwrap_or_default();
    let left = left.into_iter().map(|left| {
        let size = ByteSize(left.bytes);
        format!("Left over: {} ({size}).", left.what)
    });
    Ok(undo.into_iter().chain(left).collect())
}

fn instances(count: usize) -> String {
    match count {
        1 => "one deleted instance".to_owned(),
        count => format!("{count} deleted instances"),
    }
}

fn operations(count: usize) -> String {
    match count {
        1 => "one operation".to_owned(),
        count => format!("{count} operations"),
    }
}
