//! `template export`

use std::io::Write;
use std::path::Path;

use lxc_dev_manager_core::template::Templates;
use lxc_dev_manager_core::{Error, Result};
use serde_json::json;

use crate::args::ExportTemplate;
use crate::context::Context;
use crate::output_file::{OutputFile, STDIO, write_error};

pub(super) fn run(context: &Context, templates: &Templates, args: &ExportTemplate) -> Result<()> {
    let name = &args.name;
    let failed = |error: Error| error.context(format!("cannot export template `{name}`"));
    let text = templates
        .get(name)
        .and_then(|found| found.standalone_yaml());
    let text = text.map_err(failed)?;
    if args.file.as_os_str() == STDIO {
        let data = json!({ "template": name.as_str(), "path": null, "text": text });
        context.printer.data(&data, |_| text.clone());
        return Ok(());
    }
    let path = context.directory().join(&args.file);
    write(&path, &text, args.force).map_err(failed)?;
    let data = json!({ "template": name.as_str(), "path": path });
    context.printer.done(&data, |printer| {
        let shown = path.display();
        let next = printer.dim(&format!("next: limactl create --name NAME {shown}"));
        format!("Exported template {name} to {shown}\n{next}")
    });
    Ok(())
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut output = OutputFile::create(path, force)?;
    let written = output.file.write_all(text.as_bytes());
    written
        .and_then(|()| output.file.as_file().sync_all())
        .map_err(|error| write_error(path, error))?;
    output.persist()
}
