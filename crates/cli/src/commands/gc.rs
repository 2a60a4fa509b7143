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
        let goes = what_goes(context).await?;
        if !goes.is_empty() {
            confirm::ask(&goes.join(" "), "Delete it?")?;
        }
    }
    let collected = progress::show(context, context.operations.collect(args.all)).await?;
    let data = json!({
        "deleted": collected.deleted,
        "left": collected.left,
        "leftovers": collected.leftovers,
        "failed": collected.failed,
    });
    context.printer.done(&data, |_| {
        let kept = format!(
            "Deleted what was kept of {}; {} can still be undone",
            operations(collected.deleted),
            operations(collected.left)
        );
        match collected.leftovers {
            0 => kept,
            count => format!("{kept}; deleted what {} had left", machines(count)),
        }
    });
    if collected.failed.is_empty() {
        return Ok(());
    }
    let message = format!(
        "not everything could be deleted: {}",
        collected.failed.join("; ")
    );
    Err(Error::new(ErrorKind::Engine, message))
}

/// What nobody can bring back then, in sentences.
async fn what_goes(context: &Context) -> Result<Vec<String>> {
    let kept = context.operations.kept()?.len();
    let undo = (kept > 0).then(|| format!("{kept} operations can't be undone any more then."));
    // What an engine can't tell now is told by the deletion.
    let left = context.operations.leftovers().await.unwrap_or_default();
    let left = left.into_iter().map(|left| {
        let size = ByteSize(left.bytes);
        format!("{} that was deleted past us ({size}) go.", left.what)
    });
    Ok(undo.into_iter().chain(left).collect())
}

fn machines(count: usize) -> String {
    match count {
        1 => "a deleted machine".to_owned(),
        count => format!("{count} deleted machines"),
    }
}

fn operations(count: usize) -> String {
    match count {
        1 => "one operation".to_owned(),
        count => format!("{count} operations"),
    }
}
