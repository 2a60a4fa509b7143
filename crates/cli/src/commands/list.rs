//! `list`

use std::path::PathBuf;

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::escape::visible;
use lxc_dev_manager_core::forward::list_brief;
use lxc_dev_manager_core::model::PortState;
use lxc_dev_manager_core::project::find_directory;
use lxc_dev_manager_core::view::{EngineView, EnvView, ForwardView, PortView, ProjectView, View};
use serde_json::json;

use crate::args::List;
use crate::context::Context;
use crate::output::Printer;
use crate::table::{or_dash, render};

pub(crate) async fn run(context: &Context, args: List) -> Result<()> {
    let directories: Vec<PathBuf> = if args.all {
        let (known, warning) = context.operations.registry().projects()?;
        warning.iter().for_each(|text| context.printer.status(text));
        known.into_iter().map(|project| project.path).collect()
    } else {
        let directory = find_directory(context.directory())?;
        // An unreadable file is an error here, not a line in the list.
        let project = lxc_dev_manager_core::project::Project::open(&directory)?;
        context.operations.registry().add(project.directory())?;
        vec![project.directory().to_path_buf()]
    };
    for text in context.operations.interrupted()? {
        context.printer.status(&text);
    }
    let forwards = list_brief(context.operations.home());
    // The table shows no snapshots.
    let mut view = if context.printer.json() {
        context.operations.overview(&directories).await?
    } else {
        context.operations.overview_brief(&directories).await?
    };
    apply_forwards(&mut view, &forwards.await);
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

fn apply_forwards(view: &mut View, forwards: &[ForwardView]) {
    for project in &mut view.projects {
        for env in &mut project.envs {
            env.apply_forwards(&project.path, forwards);
        }
    }
}

/// Renders one project, or all.
pub(super) fn text(printer: &Printer, view: &View, all_projects: bool) -> String {
    match view.projects.as_slice() {
        [project] if !all_projects => one(printer, project, &view.engines),
        _ => all(printer, view),
    }
}

fn all(printer: &Printer, view: &View) -> String {
    if view.projects.is_empty() {
        return "No known projects. Create one in its directory: lxc-dev-manager create\n"
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
        text.push_str(&format!("  {}\n", visible(&problem.message)));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("  hint: {}\n", visible(hint)));
        }
    }
    if !engines.iter().any(|engine| engine.reachable) {
        for problem in engines.iter().filter_map(|engine| engine.problem.as_ref()) {
            text.push_str(&format!("  {}\n", problem.message));
        }
    }
    if project.envs.is_empty() && project.problem.is_none() {
        text.push_str("  no envs yet: lxc-dev-manager container create dev debian:12\n");
        return text;
    }
    let mut head = vec!["NAME", "IMAGE", "STATUS", "IP", "PORTS"];
    // Only clusters have locations.
    let clustered = project.envs.iter().any(|env| env.location.is_some());
    head.extend(clustered.then_some("LOCATION"));
    let row = |env: &EnvView| {
        let mut row = row(printer, env);
        row.extend(clustered.then(|| or_dash(env.location.as_deref())));
        row
    };
    let rows = project.envs.iter().map(row).collect();
    text.push_str(&render(printer, &head, rows));
    let envs = project.envs.iter();
    for (env, path) in envs.filter_map(|env| Some((&env.name, env.checkout.as_ref()?))) {
        let line = format!("{env} was created in another checkout, {path}");
        text.push_str(&format!("{}\n", printer.dim(&line)));
    }
    text
}

/// A port, coloured by its state.
fn port_word(printer: &Printer, port: &PortView) -> String {
    let number = port.guest.to_string();
    match (port.state, port.focused) {
        (PortState::Forwarded, true) => printer.good(&number),
        (PortState::Taken, _) => printer.bad(&number),
        _ => number,
    }
}

fn row(printer: &Printer, env: &EnvView) -> Vec<String> {
    let ports: Vec<String> = env
        .ports
        .iter()
        .map(|port| port_word(printer, port))
        .collect();
    vec![
        env.name.to_string(),
        or_dash(env.image.as_ref()),
        printer.status_word(env.status),
        or_dash(env.address.as_deref()),
        or_dash((!ports.is_empty()).then(|| ports.join(","))),
    ]
}
