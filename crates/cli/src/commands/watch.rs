//! `watch` and `events`

use std::io::IsTerminal;

use console::Term;
use jiff::Timestamp;
use lxc_dev_manager_core::project::find_directory;
use lxc_dev_manager_core::view::{EnvView, Outcome, View, ViewEvent, ViewPatch};
use lxc_dev_manager_core::watch::Watch;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::list;
use crate::args::List;
use crate::context::Context;
use crate::words::local_time;

/// Shows the list and redraws it at each change. Prints events without a terminal.
pub(crate) async fn watch(context: &Context, args: List) -> Result<()> {
    if !std::io::stdout().is_terminal() || context.printer.json() {
        return events(context, args).await;
    }
    let terminal = Term::stdout();
    let failed = |error| Error::io("cannot write to the terminal", error);
    follow(context, &args, async |watch, only| {
        let (mut changes, mut drawn) = (watch.view(), 0);
        while changes.changed().await.is_ok() {
            let Some(view) = changes.borrow_and_update().clone() else {
                continue;
            };
            let mut view = View::clone(&view);
            if let Some(path) = only {
                view.projects.retain(|project| project.path == path);
            }
            let text = list::text(&context.printer, &view, args.all);
            terminal.clear_last_lines(drawn).map_err(failed)?;
            terminal.write_str(&text).map_err(failed)?;
            drawn = text.lines().count();
        }
        Ok(())
    })
    .await
}

/// Prints changes, one event per line, until Ctrl+C.
pub(crate) async fn events(context: &Context, args: List) -> Result<()> {
    follow(context, &args, async |watch, only| {
        let (mut subscription, mut ready) = (watch.subscribe(), false);
        while let Some(events) = subscription.next().await {
            for event in events.iter().filter(|event| concerns(&event.patch, only)) {
                // JSON starts with the current state; text shows only changes.
                print_event(context, event, ready);
                ready |= matches!(event.patch, ViewPatch::Ready);
            }
        }
        Ok(())
    })
    .await
}

/// Prints an event. For programs the present state comes first; for people it is no event.
fn print_event(context: &Context, event: &ViewEvent, ready: bool) {
    let printer = &context.printer;
    if printer.json() {
        printer.line(&json!(event), |_| String::new());
    } else if ready && let Some(text) = line(&event.patch) {
        let at = local_time(Timestamp::now());
        printer.line(&json!(event), |printer| {
            format!("{} {text}", printer.dim(&at))
        });
    }
}

/// Watches this project, or all with `--all`, until Ctrl+C.
async fn follow(
    context: &Context,
    args: &List,
    show: impl AsyncFnOnce(&Watch, Option<&str>) -> Result<()>,
) -> Result<()> {
    let only = if args.all {
        None
    } else {
        let directory = find_directory(context.directory())?;
        context.operations.registry().add(&directory)?;
        Some(context.project()?.directory().display().to_string())
    };
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let watch = Watch::start(context.operations.clone(), &tasks, shutdown.clone());
    let result = tokio::select! {
        result = show(&watch, only.as_deref()) => {
            result.and_then(|()| Err(Error::new(ErrorKind::Internal, "the view ended unexpectedly")))
        }
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    result
}

fn concerns(patch: &ViewPatch, only: Option<&str>) -> bool {
    let path = match patch {
        ViewPatch::Project { project } => &project.path,
        ViewPatch::ProjectGone { path } => path,
        ViewPatch::Env { project_path, .. } => project_path,
        ViewPatch::Finished { outcome } => &outcome.env.project_path,
        ViewPatch::Reset | ViewPatch::Ready | ViewPatch::Engine { .. } => return true,
    };
    only.is_none_or(|only| only == path)
}

/// Describes a change.
fn line(patch: &ViewPatch) -> Option<String> {
    match patch {
        ViewPatch::Reset | ViewPatch::Ready => None,
        ViewPatch::Engine { engine } => Some(format!(
            "{} at {}: {}",
            engine.kind,
            engine.address,
            if engine.reachable {
                "reachable"
            } else {
                "unreachable"
            }
        )),
        ViewPatch::Project { project } => Some(format!("project {}", project.path)),
        ViewPatch::ProjectGone { path } => Some(format!("project {path} was removed")),
        ViewPatch::Env { env, .. } => Some(env_line(env)),
        ViewPatch::Finished { outcome } => Some(outcome_line(outcome)),
    }
}

fn env_line(env: &EnvView) -> String {
    let mut text = format!("{}: {}", env.name, env.status.label().to_lowercase());
    if let Some(address) = &env.address {
        text.push_str(&format!(", {address}"));
    }
    if let Some(operation) = &env.operation {
        text.push_str(&format!(", {}", operation.kind.labels().participle));
        if let Some(step) = &operation.step {
            text.push_str(&format!(": {step}"));
        }
    }
    text
}

fn outcome_line(outcome: &Outcome) -> String {
    match &outcome.error {
        None => outcome.summary.clone(),
        Some(error) => format!(
            "{}: {} failed: {}",
            outcome.env.env,
            outcome.kind.labels().noun,
            error.message
        ),
    }
}
