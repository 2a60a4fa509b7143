//! `list`

use std::path::PathBuf;

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::forward::list_brief;
use lxc_dev_manager_core::model::PortState;
use lxc_dev_manager_core::project::find_directory;
use lxc_dev_manager_core::view::{EngineView, EnvView, ForwardView, PortView, ProjectView, View};
use serde_json::json;

use crate::args::List;
use crate::context::Context;
use crate::output::Printer;
use crate::table::{Cell, render};

pub(crate) async fn run(context: &Context, args: List) -> Result<()> {
    let directories: Vec<PathBuf> = if args.all {
        let (known, warning) = context.operations.registry().projects()?;
        warning.iter().for_each(|text| context.printer.status(text));
        known.into_iter().map(|project| project.path).collect()
    } else {
        let directory = find_directory(context.directory())?;
        // A file that can't be read is an error here, not a line in a list.
        let project = lxc_dev_manager_core::project::Project::open(&directory)?;
        context.operations.registry().add(project.directory())?;
        vec![project.directory().to_path_buf()]
    };
    for text in context.operations.interrupted()? {
        context.printer.status(&text);
    }
    let forwards = list_brief(context.operations.home());
    // The table has no snapshots, and needn't wait for them.
    let mut view = match context.printer.json() {
        true => context.operations.overview(&directories).await?,
        false => context.operations.overview_brief(&directories).await?,
    };
    overlay(&mut view, &forwards.await);
    match view.projects.as_slice() {
        [project] if !args.all => {
            let data = json!({
                "project": project.name,
                "path": project.path,
                "engines": view.engines,
                "envs": project.envs,
            });
            context
                .printer
                .data(&data, |printer| text(printer, &view, args.all));
        }
        _ => context
            .printer
            .data(&view, |printer| text(printer, &view, args.all)),
    }
    Ok(())
}

/// What who forwards now says of ports.
fn overlay(view: &mut View, forwards: &[ForwardView]) {
    for project in &mut view.projects {
        for env in &mut project.envs {
            env.forwarded(&project.path, forwards);
        }
    }
}

/// The list of one project, or of all.
pub(super) fn text(printer: &Printer, view: &View, of_all: bool) -> String {
    match view.projects.as_slice() {
        [project] if !of_all => one(printer, project, &view.engines),
        _ => all(printer, view),
    }
}

fn all(printer: &Printer, view: &View) -> String {
    if view.projects.is_empty() {
        return "No project is known. Make one in its directory: lxc-dev-manager create\n"
            .to_owned();
    }
    let texts: Vec<String> = view
        .projects
        .iter()
        .map(|project| one(printer, project, &view.engines))
        .collect();
    texts.join("\n")
}

fn one(printer: &Printer, project: &ProjectView, engines: &[EngineView]) -> String {
    let mut text = format!(
        "{}  {}\n",
        printer.bold(project.label()),
        printer.dim(&project.path)
    );
    if let Some(problem) = &project.problem {
        text.push_str(&format!("  {}\n", problem.message));
    }
    if !engines.iter().any(|engine| engine.reachable) {
        for problem in engines.iter().filter_map(|engine| engine.problem.as_ref()) {
            text.push_str(&format!("  {}\n", problem.message));
        }
    }
    if project.envs.is_empty() {
        text.push_str("  no envs yet: lxc-dev-manager container create dev debian:12\n");
        return text;
    }
    let mut head = vec!["NAME", "IMAGE", "STATUS", "IP", "PORTS"];
    // Only a cluster has members to tell apart.
    let clustered = project.envs.iter().any(|env| env.location.is_some());
    head.extend(clustered.then_some("LOCATION"));
    let mut rows: Vec<Vec<Cell>> = vec![
        head.iter()
            .map(|word| Cell::styled(printer.dim(word), word))
            .collect(),
    ];
    for env in &project.envs {
        let mut row = row(printer, env);
        let location = env.location.as_deref().unwrap_or("-");
        row.extend(clustered.then(|| Cell::plain(location)));
        rows.push(row);
    }
    text.push_str(&render(&rows));
    let elsewhere = project.envs.iter();
    for (env, path) in elsewhere.filter_map(|env| Some((&env.name, env.checkout.as_ref()?))) {
        let line = format!("{env} was made in another checkout, {path}");
        text.push_str(&format!("{}\n", printer.dim(&line)));
    }
    text
}

/// A port, marked where it is forwarded and where it can't be.
fn port_word(printer: &Printer, port: &PortView) -> String {
    let number = port.guest.to_string();
    match (port.state, port.focused) {
        (PortState::Forwarded, true) => printer.good(&number),
        (PortState::Taken, _) => printer.bad(&number),
        _ => number,
    }
}

fn row(printer: &Printer, env: &EnvView) -> Vec<Cell> {
    let image = env.image.as_ref().map_or("-", |image| image.as_str());
    let ports = match env.ports.as_slice() {
        [] => Cell::plain("-"),
        ports => {
            let words: Vec<String> = ports.iter().map(|port| port_word(printer, port)).collect();
            let plain: Vec<String> = ports.iter().map(|port| port.guest.to_string()).collect();
            Cell::styled(words.join(","), &plain.join(","))
        }
    };
    vec![
        Cell::plain(env.name.as_str()),
        Cell::plain(image),
        Cell::styled(printer.status_word(env.status), env.status.label()),
        Cell::plain(env.address.as_deref().unwrap_or("-")),
        ports,
    ]
}
