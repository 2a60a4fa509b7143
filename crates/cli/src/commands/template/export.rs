//! `template export`

use std::io::Write;
use std::path::Path;

use lxc_dev_manager_core::template::Templates;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::ExportTemplate;
use crate::context::Context;

/// What stands for our own stream.
const STREAM: &str = "-";

pub(super) fn run(context: &Context, templates: &Templates, args: &ExportTemplate) -> Result<()> {
    let name = &args.name;
    let failed = |error: Error| error.context(format!("cannot export template `{name}`"));
    let text = templates.get(name).and_then(|found| found.stand_alone());
    let text = text.map_err(failed)?;
    if args.file.as_os_str() == STREAM {
        let data = json!({ "template": name.as_str(), "path": null, "text": text });
        context.printer.data(&data, |_| text.clone());
        return Ok(());
    }
    let path = context.directory().join(&args.file);
    write(&path, &text, args.force).map_err(failed)?;
    let data = json!({ "template": name.as_str(), "path": path });
    context.printer.done(&data, |printer| {
        let shown = path.display();
        let made = printer.dim(&format!("use it: limactl create --name NAME {shown}"));
        format!("Wrote template {name} to {shown}\n{made}")
    });
    Ok(())
}

/// Writes beside the file and gives it its name when it is whole.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let shown = path.display();
    let is_there = || {
        Error::new(
            ErrorKind::AlreadyExists,
            format!("{shown} is there already"),
        )
        .with_hint("replace it with `-f`")
    };
    let unwritable = |error| Error::io(format!("cannot write {shown}"), error);
    if path.exists() && !path.is_file() {
        let message = format!("{shown} is no file");
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_hint("write to stdout, `-`, and lead that where you want it"));
    }
    // Before anything is written; who comes in between is met below.
    if path.symlink_metadata().is_ok() && !force {
        return Err(is_there());
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut part = tempfile::Builder::new()
        .prefix(".ldm-template-")
        .tempfile_in(directory)
        .map_err(unwritable)?;
    part.write_all(text.as_bytes()).map_err(unwritable)?;
    part.as_file().sync_all().map_err(unwritable)?;
    let named = match force {
        true => part.persist(path),
        false => part.persist_noclobber(path),
    };
    named.map(drop).map_err(|failed| match failed.error.kind() {
        std::io::ErrorKind::AlreadyExists => is_there(),
        _ => unwritable(failed.error),
    })
}
