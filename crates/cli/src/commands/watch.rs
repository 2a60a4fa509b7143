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

/// Shows the list, and draws it anew at each change. Elsewhere than on a terminal each change is a line.
pub(crate) async fn watch(context: &Context, args: List) -> Result<()> {
    if !std::io::stdout().is_terminal() || context.printer.json() {
        return events(context, args).await;
    }
    let terminal = Term::stdout();
    let mut drawn = 0;
    follow(context, &args, |view, event| {
        if matches!(event.patch, ViewPatch::Reset) {
            return Ok(());
        }
        let text = list::text(&context.printer, view, args.all);
        let failed = |error| Error::io("the terminal is gone", error);
        terminal.clear_last_lines(drawn).map_err(failed)?;
        terminal.write_str(&text).map_err(failed)?;
        drawn = text.lines().count();
        Ok(())
    })
    .await
}

/// Prints what changes, an event a line, until Ctrl+C.
pub(crate) async fn events(context: &Context, args: List) -> Result<()> {
    let mut ready = false;
    follow(context, &args, |_, event| {
        // What is there already is no event; for programs it is the state that events change.
        if context.printer.json() {
            context.printer.line(&json!(event), |_| String::new());
        } else if ready && let Some(text) = line(&event.patch) {
            let at = local_time(Timestamp::now());
            context.printer.line(&json!(event), |printer| {
                format!("{} {text}", printer.dim(&at))
            });
        }
        ready |= matches!(event.patch, ViewPatch::Ready);
        Ok(())
    })
    .await
}

/// Folds the living view and shows each event after it is folded in. Ends with Ctrl+C.
async fn follow(
    context: &Context,
    args: &List,
    mut show: impl FnMut(&View, &ViewEvent) -> Result<()>,
) -> Result<()> {
    let only = match args.all {
        true => None,
        false => {
            let directory = find_directory(context.directory())?;
            context.operations.registry().add(&directory)?;
            Some(context.project()?.directory().display().to_string())
        }
    };
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let watch = Watch::start(context.operations.clone(), &tasks, shutdown.clone());
    let shown = async {
        // A subscriber that fell behind begins again, with the whole.
        while let Some(mut events) = watch.subscribe().await {
            let mut view = View::default();
            while let Some(event) = events.recv().await {
                view.apply(&event.patch);
                if let Some(path) = &only {
                    view.projects.retain(|project| project.path == *path);
                }
                if concerns(&event.patch, only.as_deref()) {
                    show(&view, &event)?;
                }
            }
        }
        Err(Error::new(ErrorKind::Internal, "the view has ended"))
    };
    let result = tokio::select! {
        result = shown => result,
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

/// A change in words.
fn line(patch: &ViewPatch) -> Option<String> {
    match patch {
        ViewPatch::Reset | ViewPatch::Ready => None,
        ViewPatch::Engine { engine } => Some(format!(
            "{} at {}: {}",
            engine.kind,
            engine.address,
            if engine.reachable {
                "answers"
            } else {
                "doesn't answer"
            }
        )),
        ViewPatch::Project { project } => Some(format!("project {}", project.path)),
        ViewPatch::ProjectGone { path } => Some(format!("project {path} is gone")),
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
        text.push_str(&format!(", {}", operation.kind.word()));
        if let Some(step) = &operation.step {
            text.push_str(&format!(": {step}"));
        }
    }
    text
}

fn outcome_line(outcome: &Outcome) -> String {
    let (env, what) = (&outcome.env.env, outcome.kind.noun());
    match &outcome.error {
        None => format!("{env}: {what} done"),
        Some(error) => format!("{env}: {what} failed: {}", error.message),
    }
}
