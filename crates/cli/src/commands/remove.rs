//! `remove`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::EnvName;
use lxc_dev_manager_core::operations::UndoPolicy;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::view::EnvView;
use serde_json::json;

use super::multi_env::{Done, chosen, each};
use super::sessions;
use crate::args::Remove;
use crate::confirm;
use crate::context::Context;

pub(crate) async fn run(context: &Context, args: Remove) -> Result<u8> {
    let project = context.project()?;
    if !args.force {
        let names = chosen(&project, &args.names)?;
        ask(context, &project, &names).await?;
    }
    each(context, &project, &args.names, async |mut project, env| {
        let undoable = context.operations.remove(&mut project, &env).await?;
        let head = format!("Removed {}", context.printer.bold(env.as_str()));
        let undo = format!("undo within three days: lxc-dev-manager undo {env}");
        Ok(Done {
            data: json!({ "env": env, "undoable": undoable }),
            text: match undoable {
                true => format!("{head}\n{}", context.printer.dim(&undo)),
                false => head,
            },
        })
    })
    .await
}

async fn ask(context: &Context, project: &Project, names: &[EnvName]) -> Result<()> {
    let directory = project.directory().to_path_buf();
    let view = context.operations.overview(&[directory]).await?;
    let envs = view.projects.iter().flat_map(|project| &project.envs);
    let mut goes: Vec<String> = envs
        .filter(|env| names.contains(&env.name))
        .map(what_goes)
        .collect();
    let count = goes.len();
    if count == 0 {
        // Removing it will say that it isn't there.
        return Ok(());
    }
    goes.extend(not_kept(context, project, names).await);
    let question = if count == 1 {
        "Remove it?"
    } else {
        "Remove them?"
    };
    confirm::ask(&goes.join("\n"), question)
}

/// Which of the envs undo won't bring back, in words.
pub(super) async fn not_kept(
    context: &Context,
    project: &Project,
    names: &[EnvName],
) -> Vec<String> {
    let mut lines = Vec::new();
    for name in names {
        // One that only the file names has nothing to keep.
        if let Ok(keeping) = context.operations.removal_keeps(project, name).await
            && let Some(why) = lost(keeping)
        {
            lines.push(format!("`{name}` can't be brought back by undo: {why}."));
        }
    }
    lines
}

/// Why something can't be undone, and what to do about it.
pub(super) fn lost(keeping: UndoPolicy) -> Option<&'static str> {
    match keeping {
        UndoPolicy::Keep => None,
        UndoPolicy::Disabled => Some("the preference `undo.max_share` is 0"),
        UndoPolicy::TooExpensive => Some(
            "its storage pool would copy everything (to keep it nevertheless: \
             `lxc-dev-manager config set undo.on_dir true`)",
        ),
        UndoPolicy::Unsupported => Some("its storage pool deletes what is later than a snapshot"),
    }
}

/// What is lost with an env, in one line.
pub(super) fn what_goes(env: &EnvView) -> String {
    let mut parts = vec![
        format!("instance {}", env.instance),
        env.status.label().to_lowercase(),
        match env.snapshots.len() {
            1 => "one snapshot".to_owned(),
            count => format!("{count} snapshots"),
        },
    ];
    if env.sessions > 0 {
        parts.push(sessions::words(env.sessions));
    }
    format!("`{}` goes: {}.", env.name, parts.join(", "))
}
