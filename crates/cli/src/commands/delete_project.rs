//! `project delete`

use lxc_dev_manager_core::Result;
use serde_json::json;

use super::remove::{describe_removal, not_undoable};
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
        let mut losses: Vec<String> = envs.map(describe_removal).collect();
        let names = project.file().env_names();
        losses.extend(not_undoable(context, &project, &names).await);
        losses.push(format!(
            "The project file in {} is deleted.",
            directory.display()
        ));
        confirm::ask(&losses.join("\n"), "Delete project?")?;
    }
    let name = project.name();
    let deleted = context.operations.delete_project(project);
    let deleted = progress::show_with_names(context, deleted).await?;
    let data = json!({
        "project": name,
        "path": directory,
        "removed": deleted.removed,
        "left": deleted.left,
        "undoable": deleted.undoable,
    });
    context.printer.done(&data, |printer| {
        let label = name.as_ref().map_or_else(
            || directory.display().to_string(),
            |name| name.as_str().to_owned(),
        );
        let mut text = format!("Deleted project {}", printer.bold(&label));
        for env in &deleted.left {
            text.push_str(&format!("\nKept {env}: it belongs to another directory"));
        }
        if deleted.undoable {
            let undo = "undo within three days in this directory: lxc-dev-manager undo";
            text.push_str(&format!("\n{}", printer.dim(undo)));
        }
        text
    });
    Ok(())
}
