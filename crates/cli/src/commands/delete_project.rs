//! `project delete`

use lxc_dev_manager_core::Result;
use serde_json::json;

use super::remove::{not_kept, what_goes};
use crate::args::DeleteProject;
use crate::confirm;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: DeleteProject) -> Result<()> {
    let project = context.project()?;
    let directory = project.directory().to_path_buf();
    if !args.force {
        let view = context
            .operations
            .overview(std::slice::from_ref(&directory))
            .await?;
        let envs = view.projects.iter().flat_map(|project| &project.envs);
        let mut goes: Vec<String> = envs.map(what_goes).collect();
        let names = project.file().env_names();
        goes.extend(not_kept(context, &project, &names).await);
        goes.push(format!("The file in {} goes.", directory.display()));
        confirm::ask(&goes.join("\n"), "Delete the project?")?;
    }
    let name = project.name();
    let deleted = context.operations.delete_project(project);
    let deleted = progress::show_several(context, deleted).await?;
    let data = json!({
        "project": name,
        "path": directory,
        "removed": deleted.removed,
        "left": deleted.left,
        "undoable": deleted.undoable,
    });
    context.printer.done(&data, |printer| {
        let called = name.as_ref().map_or_else(
            || directory.display().to_string(),
            |name| name.as_str().to_owned(),
        );
        let mut text = format!("Deleted the project {}", printer.bold(&called));
        for env in &deleted.left {
            text.push_str(&format!("\n{env} is another directory's, and stays"));
        }
        if deleted.undoable {
            let undo = "undo within three days, in this directory: lxc-dev-manager undo";
            text.push_str(&format!("\n{}", printer.dim(undo)));
        }
        text
    });
    Ok(())
}
