//! `lxc-dev-manager`, the command line: parse, one engine call, render.

mod args;
mod commands;
mod confirm;
mod context;
mod editor;
mod forwards;
mod output;
mod prefixed_writer;
mod progress;
mod ssh_quote;
mod table;
mod terminal;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
