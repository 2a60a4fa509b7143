//! `trust` and `untrust`: consent to what a project's file does to the host.

use lxc_dev_manager_core::project::{HostPart, Project, Trust};
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::args::TrustArgs;
use crate::confirm;
use crate::context::Context;
use crate::output::Printer;

/// Asks for consent before a command that uses what the file does to the host. Without a terminal, and for parts that
/// need `trust --force`, the command fails with a hint.
pub(crate) fn ask(trust: &Trust, project: &Project) -> Result<()> {
    let parts = trust.untrusted(project)?;
    if parts.is_empty() || !confirm::can_ask() || parts.iter().any(|part| part.is_sensitive) {
        return Ok(());
    }
    confirm::ask(&question(project, &parts), "Allow this?")?;
    trust.add(project, false).map(drop)
}

fn question(project: &Project, parts: &[HostPart]) -> String {
    let parts: String = parts.iter().map(|part| format!("\n  {part}")).collect();
    let path = project.directory().display();
    format!("containers.yaml in {path} reaches this machine. It{parts}")
}

pub(crate) fn trust(context: &Context, args: &TrustArgs) -> Result<()> {
    let project = context.project_of_any_trust()?;
    let trust = context.operations.trust();
    if args.show {
        return show(&context.printer, &trust, &project);
    }
    let left = trust.add(&project, args.force)?;
    if !left.is_empty() {
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        let message = format!(
            "the file has parts that need `--force`: it {}",
            left.join("; ")
        );
        return Err(Error::new(ErrorKind::Untrusted, message)
            .with_hint("review them, then run `lxc-dev-manager trust --force`"));
    }
    context.operations.registry().add(project.directory())?;
    let shown = project.directory().display().to_string();
    context
        .printer
        .done(&json!({ "path": shown, "trusted": true }), |_| {
            format!("Trusted {shown}")
        });
    Ok(())
}

fn show(printer: &Printer, trust: &Trust, project: &Project) -> Result<()> {
    let untrusted = trust.untrusted(project)?;
    let parts = trust.parts(project)?.into_iter();
    let parts = parts.map(|part| (!untrusted.contains(&part), part));
    let parts: Vec<(bool, HostPart)> = parts.collect();
    let data: Vec<Value> = parts
        .iter()
        .map(|(trusted, part)| {
            json!({ "text": part.to_string(), "trusted": trusted, "needs_force": part.is_sensitive })
        })
        .collect();
    let data = json!({ "path": project.directory(), "parts": data });
    printer.data(&data, |_| {
        if parts.is_empty() {
            return "The file does not reach this machine\n".to_owned();
        }
        let lines = parts.iter().map(|(trusted, part)| {
            let state = match (*trusted, part.is_sensitive) {
                (true, _) => "trusted",
                (false, false) => "not trusted",
                (false, true) => "not trusted, needs --force",
            };
            format!("{part} ({state})\n")
        });
        lines.collect()
    });
    Ok(())
}

pub(crate) fn untrust(context: &Context) -> Result<()> {
    let project = context.project_of_any_trust()?;
    let shown = project.directory().display().to_string();
    if !context.operations.trust().remove(project.directory())? {
        let message = format!("{shown} was not trusted");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    context
        .printer
        .done(&json!({ "path": shown, "trusted": false }), |_| {
            format!("No longer trusted: {shown}")
        });
    Ok(())
}
