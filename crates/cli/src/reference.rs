//! Writes the tables of `docs/commands.md` from the argument definitions (`make types`), and fails where the page is
//! stale.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use crate::args::Cli;

const START: &str = "<!-- commands: ";
const END: &str = "<!-- end -->";

/// Each visible command by its words, `image list`.
fn commands() -> Vec<(String, Command)> {
    let mut cli = Cli::command();
    cli.build();
    let mut found = Vec::new();
    let mut open = vec![(String::new(), cli)];
    while let Some((words, command)) = open.pop() {
        let visible = command
            .get_subcommands()
            .filter(|below| !below.is_hide_set() && below.get_name() != "help");
        let below: Vec<_> = visible
            .map(|below| {
                (
                    format!("{words} {}", below.get_name()).trim().to_owned(),
                    below.clone(),
                )
            })
            .collect();
        if below.is_empty() {
            found.push((words, command));
        } else {
            open.extend(below);
        }
    }
    found
}

fn value_name(arg: &Arg) -> String {
    arg.get_value_names()
        .map_or_else(String::new, |names| names.join(" "))
}

fn usage(words: &str, command: &Command) -> String {
    let mut usage = words.to_owned();
    for arg in command.get_positionals() {
        let many = arg
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1);
        let name = format!("{}{}", value_name(arg), if many { "…" } else { "" });
        let name = if arg.is_required_set() {
            name
        } else {
            format!("[{name}]")
        };
        usage.push_str(&format!(" {name}"));
    }
    let aliases = command.get_visible_aliases();
    let aliases: String = aliases.map(|alias| format!(", `{alias}`")).collect();
    format!("`{usage}`{aliases}")
}

fn option(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("`-{short}`, "));
    let value = if arg.get_action().takes_values() {
        format!(" {}", value_name(arg))
    } else {
        String::new()
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let long = arg.get_long().unwrap_or_default();
    let default = arg
        .get_default_values()
        .first()
        .filter(|_| !value.is_empty());
    let default = default.map(|default| format!(" [default: {}]", default.to_string_lossy()));
    let (short, default) = (short.unwrap_or_default(), default.unwrap_or_default());
    format!("{short}`--{long}{value}`: {help}{default}")
}

fn row(words: &str, command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    let effect = match command.get_long_about().map(ToString::to_string) {
        Some(long) => long.replacen("\n\n", ". ", 1).replace('\n', " "),
        None => about,
    };
    let options = command
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !arg.is_global_set())
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
    let options: Vec<String> = options.map(option).collect();
    let text = format!(
        "| {} | {} | {} |\n",
        usage(words, command),
        options.join("; "),
        effect.trim_end_matches('.')
    );
    text.replace("|FILE", "\\|FILE")
}

#[test]
fn tables_of_commands_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let commands = commands();
    let mut shown = BTreeSet::new();
    let mut parts = page.split(START);
    let mut fresh = parts.next().unwrap().to_owned();
    for part in parts {
        let (names, rest) = part.split_once(" -->").unwrap();
        let (_, rest) = rest.split_once(END).unwrap();
        let rows = names.split(", ").map(|name| {
            let known = commands.iter().find(|(words, _)| words == name);
            let (words, command) = known.unwrap_or_else(|| panic!("no command `{name}`"));
            shown.insert(words.clone());
            row(words, command)
        });
        let rows: String = rows.collect();
        fresh.push_str(&format!(
            "{START}{names} -->\n| command | options | effect |\n|---|---|---|\n{rows}{END}{rest}"
        ));
    }
    if std::env::var_os("LDM_WRITE_TYPES").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == fresh,
        "docs/commands.md is stale: run `make types`"
    );
    let all: BTreeSet<String> = commands.into_iter().map(|(words, _)| words).collect();
    assert_eq!(shown, all, "a command is in no table");
}
