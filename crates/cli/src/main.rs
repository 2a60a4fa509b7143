//! The `lxc-dev-manager` command line: parse, run one operation, render.

mod args;
mod commands;
mod confirm;
mod context;
mod editor;
mod forwards;
mod output;
mod output_file;
mod prefixed_writer;
mod progress;
#[cfg(test)]
mod reference;
mod ssh_quote;
mod table;
mod terminal;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
