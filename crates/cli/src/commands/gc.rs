//! `gc`

use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::Gc;
use crate::confirm;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Gc) -> Result<()> {
    if args.all && !args.force {
        let count = context.engine.kept()?.len();
        if count > 0 {
            let goes = format!("{count} operations can't be undone any more then.");
            confirm::ask(&goes, "Delete what is kept for them?")?;
        }
    }
    let collected = progress::show(context, context.engine.collect(args.all)).await?;
    let data = json!({
        "deleted": collected.deleted,
        "left": collected.left,
        "failed": collected.failed,
    });
    context.printer.done(&data, |_| {
        format!(
            "Deleted what was kept of {}; {} can still be undone",
            operations(collected.deleted),
            operations(collected.left)
        )
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

fn operations(count: usize) -> String {
    match count {
        1 => "one operation".to_owned(),
        count => format!("{count} operations"),
    }
}
