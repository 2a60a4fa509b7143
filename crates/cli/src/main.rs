//! `lxc-dev-manager`, the command line: parse, one engine call, render.

mod args;
mod commands;
mod confirm;
mod context;
mod editor;
mod forwards;
mod labelled;
mod output;
mod progress;
mod ssh_word;
mod table;
mod terminal;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
