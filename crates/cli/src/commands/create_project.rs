//! `create`

use lxc_dev_manager_core::model::ProjectName;
use lxc_dev_manager_core::project::create_file;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::{CreateProject, Ports};
use crate::context::Context;

pub(crate) fn run(context: &Context, args: CreateProject) -> Result<()> {
    let directory = context.directory().canonicalize().map_err(|error| {
        let shown = context.directory().display();
        Error::new(ErrorKind::NotFound, format!("no directory {shown}")).caused_by(error)
    })?;
    let name = match args.name {
        Some(name) => name,
        None => {
            let base_name = directory.file_name().unwrap_or_default().to_string_lossy();
            ProjectName::parse(&base_name).map_err(|error| {
                Error::new(ErrorKind::InvalidName, error.to_string())
                    .with_hint("set a name: `lxc-dev-manager create -n NAME`")
            })?
        }
    };
    let ports = Ports::joined(args.ports);
    let project = create_file(&directory, &name, ports.as_deref())?;
    context.operations.registry().add(project.directory())?;
    let path = project.directory().display().to_string();
    context
        .printer
        .done(&json!({ "project": name, "path": path }), |printer| {
            format!(
                "Created project {} in {path}\n{}",
                printer.bold(name.as_str()),
                printer.dim("next: lxc-dev-manager container create dev debian:12")
            )
        });
    Ok(())
}
