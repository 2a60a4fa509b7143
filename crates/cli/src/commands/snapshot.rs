//! `container snapshot`

use lxc_dev_manager_core::escape::visible;
use lxc_dev_manager_core::model::EnvName;
use lxc_dev_manager_core::operations::MayStop;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::view::{EnvView, SnapshotView};
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::{DeleteSnapshot, EnvOnly, TakeSnapshot};
use crate::confirm;
use crate::context::Context;
use crate::output::Printer;
use crate::progress;
use crate::table::render;
use crate::words::local_time;

pub(crate) async fn create(context: &Context, args: TakeSnapshot) -> Result<()> {
    let mut project = context.project()?;
    let stop = if args.no_stop {
        MayStop::No
    } else {
        MayStop::Yes
    };
    let (name, snapshot) = (&args.name, &args.snapshot);
    let taken = context
        .operations
        .snapshot(&mut project, name, snapshot, args.description, stop);
    progress::show(context, taken).await?;
    context.printer.done(
        &json!({ "env": args.name, "snapshot": args.snapshot }),
        |printer| {
            format!(
                "Took snapshot {} of {}",
                printer.bold(args.snapshot.as_str()),
                args.name
            )
        },
    );
    Ok(())
}

pub(crate) async fn list(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    let env = env_view(context, &project, &args.name).await?;
    context.printer.data(
        &json!({ "env": args.name, "snapshots": env.snapshots }),
        |printer| table(printer, &env.snapshots),
    );
    Ok(())
}

/// Returns the view of one env.
pub(super) async fn env_view(
    context: &Context,
    project: &Project,
    name: &EnvName,
) -> Result<EnvView> {
    let directory = project.directory().to_path_buf();
    let view = context.operations.overview(&[directory]).await?;
    let mut envs = view.projects.into_iter().flat_map(|project| project.envs);
    envs.find(|env| env.name == *name).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("no env `{name}`"))
            .with_hint("list envs: `lxc-dev-manager list`")
    })
}

pub(super) fn table(printer: &Printer, snapshots: &[SnapshotView]) -> String {
    if snapshots.is_empty() {
        return "No snapshots\n".to_owned();
    }
    let head = ["NAME", "CREATED", "DESCRIPTION"];
    let row = |snapshot: &SnapshotView| {
        vec![
            snapshot.name.to_string(),
            local_time(snapshot.created_at),
            visible(snapshot.description.as_deref().unwrap_or_default()).into_owned(),
        ]
    };
    render(printer, &head, snapshots.iter().map(row).collect())
}

pub(crate) async fn delete(context: &Context, args: DeleteSnapshot) -> Result<()> {
    let mut project = context.project()?;
    if !args.force && crate::terminal::is_interactive() {
        let losses = format!(
            "Snapshot `{}` of `{}` is deleted permanently.",
            args.snapshot, args.name
        );
        confirm::ask(&losses, "Delete?")?;
    }
    let deleted = context
        .operations
        .delete_snapshot(&mut project, &args.name, &args.snapshot);
    progress::show(context, deleted).await?;
    context.printer.done(
        &json!({ "env": args.name, "snapshot": args.snapshot }),
        |_| format!("Deleted snapshot {} of {}", args.snapshot, args.name),
    );
    Ok(())
}
