//! `remove`

use lxc_dev_manager_core::Result;
use serde_json::json;

use crate::args::Remove;
use crate::confirm;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: Remove) -> Result<()> {
    let mut project = context.project()?;
    if !args.force {
        let view = context
            .engine
            .overview(&[project.directory().to_path_buf()])
            .await?;
        let mut envs = view.projects.iter().flat_map(|project| &project.envs);
        if let Some(env) = envs.find(|env| env.name == args.name) {
            let goes = format!(
                "`{}` goes: instance {}, {}, {}.",
                env.name,
                env.instance,
                env.status.label().to_lowercase(),
                match env.snapshots.len() {
                    1 => "one snapshot".to_owned(),
                    count => format!("{count} snapshots"),
                }
            );
            confirm::ask(&goes, "Remove it?")?;
        }
    }
    let removed = context.engine.remove(&mut project, &args.name);
    let undoable = progress::show(context, removed).await?;
    context.printer.done(
        &json!({ "env": args.name, "undoable": undoable }),
        |printer| {
            let head = format!("Removed {}", printer.bold(args.name.as_str()));
            if undoable {
                let undo = format!("undo within three days: lxc-dev-manager undo {}", args.name);
                format!("{head}\n{}", printer.dim(&undo))
            } else {
                head
            }
        },
    );
    Ok(())
}
