//! `undo`

use lxc_dev_manager_core::project::FILE_NAME;
use lxc_dev_manager_core::{Error, Result};
use serde_json::json;

use crate::args::Undo;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Undo) -> Result<()> {
    if args.name.is_none() && bring_project_back(context).await? {
        return Ok(());
    }
    let mut project = context.project()?;
    let undone = context.operations.undo(&mut project, args.name.as_ref());
    let env = progress::show(context, undone).await?;
    context.printer.done(&json!({ "env": env }), |printer| {
        format!("{} is as it was before", printer.bold(env.as_str()))
    });
    Ok(())
}

/// Brings the project back that was deleted in this directory, if one was.
async fn bring_project_back(context: &Context) -> Result<bool> {
    let here = context.directory();
    let here = here
        .canonicalize()
        .map_err(|error| Error::io(format!("cannot find {}", here.display()), error))?;
    if here.join(FILE_NAME).exists() && !context.operations.is_back_in_part(&here)? {
        return Ok(false);
    }
    let undone = progress::show_several(context, context.operations.undo_deletion(&here)).await?;
    let Some(project) = undone else {
        return Ok(false);
    };
    let envs = project.file().env_names();
    let data = json!({ "project": project.name(), "path": here, "envs": envs });
    context.printer.done(&data, |_| {
        format!("The project in {} is as it was before", here.display())
    });
    Ok(true)
}
