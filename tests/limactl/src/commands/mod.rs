//! The supported calls, one module per group of commands.

mod create;
mod list;
mod start;
mod stop;

use std::io::Write;

use anyhow::{Result, bail};

use crate::agent;
use crate::faults::Faults;
use crate::home::Home;

pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) faults: Faults,
}

/// Rejects unknown calls, so that the backend makes only tested ones.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let home = Home::find()?;
    let faults = Faults::read(&home);
    faults.log_call(args);
    let words: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "--tty=false")
        .collect();
    let command = words.first().copied().unwrap_or_default();
    faults.begin(command.trim_start_matches('-'));
    let context = Context { home, faults };
    match words.as_slice() {
        ["--version"] => {
            let version = context.faults.version();
            Ok(writeln!(std::io::stdout(), "limactl version {version}")?)
        }
        ["list", "--json"] => list::json(&context),
        ["list", "--quiet"] => list::names(&context),
        ["create", name, file] if name.starts_with("--name=") => {
            create::create(&context, &name["--name=".len()..], file)
        }
        ["validate", file] => create::validate(file),
        ["rename", old, new] => create::rename(&context, old, new),
        ["start", name] => start::start(&context, name),
        ["hostagent", name] => agent::run(&context, name),
        ["stop", name] => stop::stop(&context, name),
        ["stop", "-f", name] => stop::kill(&context, name),
        ["delete", "-f", name] => stop::delete(&context, name),
        _ => bail!("the stand-in has no call {words:?}"),
    }
}
