//! `completions` and `man`, generated from the argument definitions.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::{Cli, Completions, Man};
use crate::context::Context;

/// Name of the program.
const NAME: &str = "lxc-dev-manager";

pub(crate) fn completions(args: &Completions) {
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut io::stdout());
}

/// Writes one page per command.
pub(crate) fn man(context: &Context, args: &Man) -> Result<()> {
    let directory = context.directory().join(&args.pages);
    let shown = directory.display();
    if !directory.is_dir() {
        let message = format!("no directory {shown}");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    clap_mangen::generate_to(Cli::command(), &directory)
        .map_err(|error| Error::io(format!("cannot write to {shown}"), error))?;
    let pages = pages(&directory)?;
    context.printer.done(
        &json!({ "directory": directory, "pages": pages }),
        |printer| {
            let next = format!("view: man {}/{NAME}.1", directory.display());
            format!("Wrote {pages} pages to {shown}\n{}", printer.dim(&next))
        },
    );
    Ok(())
}

fn pages(directory: &Path) -> Result<usize> {
    let files = directory
        .read_dir()
        .map_err(|error| Error::io(format!("cannot read {}", directory.display()), error))?;
    let pages = files.flatten().filter(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with(NAME) && name.ends_with(".1")
    });
    Ok(pages.count())
}
