//! `remove`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::EnvName;
use lxc_dev_manager_core::operations::UndoPolicy;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::view::EnvView;
use serde_json::json;

use super::multi_env::{Done, each, matching_envs};
use super::sessions;
use crate::args::Remove;
use crate::confirm;
use crate::context::Context;

pub(crate) async fn run(context: &Context, args: Remove) -> Result<u8> {
    let project = context.project()?;
    if !args.force {
        let names = matching_envs(&project, &args.names)?;
        ask(context, &project, &names).await?;
    }
    each(context, &project, &args.names, async |mut project, env| {
        let undoable = context.operations.remove(&mut project, &env).await?;
        let head = format!("Removed {}", context.printer.bold(env.as_str()));
        let undo = format!("undo within three days: lxc-dev-manager undo {env}");
        Ok(Done {
            data: json!({ "env": env, "undoable": undoable }),
            text: if undoable {
                format!("{head}\n{}", context.printer.dim(&undo))
            } else {
                head
            },
        })
    })
    .await
}

async fn ask(context: &Context, project: &Project, names: &[EnvName]) -> Result<()> {
    let directory = project.directory().to_path_buf();
    let view = context.operations.overview(&[directory]).await?;
    let envs = view.projects.iter().flat_map(|project| &project.envs);
    let mut losses: Vec<String> = envs
        .filter(|env| names.contains(&env.name))
        .map(describe_removal)
        .collect();
    let count = losses.len();
    if count == 0 {
        // The removal reports that it does not exist.
        return Ok(());
    }
    losses.extend(not_undoable(context, project, names).await);
    let question = if count == 1 { "Remove?" } else { "Remove all?" };
    confirm::ask(&losses.join("\n"), question)
}

/// Describes the envs whose removal cannot be undone.
pub(super) async fn not_undoable(
    context: &Context,
    project: &Project,
    names: &[EnvName],
) -> Vec<String> {
    let mut lines = Vec::new();
    for name in names {
        // Fails for an env that exists only in the file.
        if let Ok(policy) = context.operations.removal_undo_policy(project, name).await
            && let Some(reason) = why_not_undoable(policy)
        {
            lines.push(format!("Removing `{name}` cannot be undone: {reason}."));
        }
    }
    lines
}

/// Explains why an operation cannot be undone.
pub(super) fn why_not_undoable(policy: UndoPolicy) -> Option<&'static str> {
    match policy {
        UndoPolicy::Keep => None,
        UndoPolicy::Disabled => Some("the preference `undo.max_share` is 0"),
        UndoPolicy::TooExpensive => Some(
            "its storage pool needs a full copy (to enable: \
                         `lxc-dev-manager config set undo.on_dir true`)",
        ),
        UndoPolicy::Unsupported => Some("its storage pool deletes later snapshots on restore"),
    }
}

/// Describes in one line what is lost with an env.
pub(super) fn describe_removal(env: &EnvView) -> String {
    let mut parts = vec![
        format!("instance {}", env.instance),
        env.status.label().to_lowercase(),
        match env.snapshots.len() {
            1 => "one snapshot".to_owned(),
            count => format!("{count} snapshots"),
        },
    ];
    if env.sessions > 0 {
        parts.push(sessions::describe(env.sessions));
    }
    format!("`{}` is removed: {}.", env.name, parts.join(", "))
}
