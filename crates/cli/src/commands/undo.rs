//! `undo`

use lxc_dev_manager_core::project::FILE_NAME;
use lxc_dev_manager_core::{Error, Result};
use serde_json::json;

use crate::args::Undo;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Undo) -> Result<()> {
    if args.name.is_none() && restore_project(context).await? {
        return Ok(());
    }
    let mut project = context.project()?;
    let undone = context.operations.undo(&mut project, args.name.as_ref());
    let env = progress::show(context, undone).await?;
    context.printer.done(&json!({ "env": env }), |printer| {
        format!("Restored {}", printer.bold(env.as_str()))
    });
    Ok(())
}

/// Restores a project that was deleted in this directory, if any.
async fn restore_project(context: &Context) -> Result<bool> {
    let here = context.directory();
    let here = here
        .canonicalize()
        .map_err(|error| Error::io(format!("cannot find {}", here.display()), error))?;
    if here.join(FILE_NAME).exists() && !context.operations.is_partially_restored(&here)? {
        return Ok(false);
    }
    let undone =
        progress::show_with_names(context, context.operations.undo_deletion(&here)).await?;
    let Some(project) = undone else {
        return Ok(false);
    };
    let envs = project.file().env_names();
    let data = json!({ "project": project.name(), "path": here, "envs": envs });
    context.printer.done(&data, |_| {
        format!("Restored the project in {}", here.display())
    });
    Ok(true)
}
