//! The commands, their flags and their numbers of arguments: what the real one has, and the same words for what it hasn't.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::commands::{self, Context};
use crate::faults::Faults;
use crate::flags::{self, Flag, GLOBAL, Given, Kind, flag, short};
use crate::home::Home;
use crate::{agent, shell};

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy)]
enum Arity {
    Any,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
}

type Action = fn(&Context, &Given) -> Result<ExitCode>;

struct Command {
    /// The first is the name, the others mean the same.
    names: &'static [&'static str],
    usage: &'static str,
    short: &'static str,
    flags: &'static [&'static [Flag]],
    arity: Arity,
    action: Action,
}

const EDIT: &[Flag] = &[
    flag("cpus", Kind::Int),
    flag("dns", Kind::List),
    flag("memory", Kind::Float),
    flag("mount", Kind::List),
    flag("mount-only", Kind::List),
    flag("mount-none", Kind::Bool),
    flag("mount-type", Kind::Text),
    flag("mount-writable", Kind::Bool),
    flag("mount-inotify", Kind::Bool),
    flag("network", Kind::List),
    flag("nested-virt", Kind::Bool),
    flag("rosetta", Kind::Bool),
    flag("set", Kind::List),
    flag("param", Kind::List),
    flag("ssh-port", Kind::Port),
    flag("video", Kind::Bool),
    flag("disk", Kind::Float),
    flag("vm-type", Kind::Text),
    flag("shell", Kind::Text),
];

const CREATE: &[Flag] = &[
    flag("name", Kind::Text),
    flag("list-templates", Kind::Bool),
    flag("list-drivers", Kind::Bool),
    flag("arch", Kind::Text),
    flag("image-variant", Kind::Text),
    flag("arch-variant", Kind::Text),
    flag("containerd", Kind::Text),
    flag("plain", Kind::Bool),
    flag("port-forward", Kind::List),
    flag("audio-device", Kind::Text),
    flag("audio-interface", Kind::Text),
];

const START: &[Flag] = &[
    flag("foreground", Kind::Bool),
    flag("timeout", Kind::Duration),
    flag("progress", Kind::Bool),
];

const FORCE: &[Flag] = &[short("force", 'f', Kind::Bool)];
const AND_START: &[Flag] = &[flag("start", Kind::Bool)];

const LIST: &[Flag] = &[
    short("format", 'f', Kind::Text),
    flag("list-fields", Kind::Bool),
    flag("json", Kind::Bool),
    short("quiet", 'q', Kind::Bool),
    flag("all-fields", Kind::Bool),
    flag("yq", Kind::List),
    short("filter", 'l', Kind::List),
];

const SHELL: &[Flag] = &[
    flag("instance", Kind::Text),
    flag("shell", Kind::Text),
    flag("workdir", Kind::Text),
    flag("reconnect", Kind::Bool),
    flag("preserve-env", Kind::Bool),
    flag("start", Kind::Bool),
    flag("sync", Kind::Text),
];

const COPY: &[Flag] = &[
    short("recursive", 'r', Kind::Bool),
    short("verbose", 'v', Kind::Bool),
    flag("backend", Kind::Text),
];

const AGENT: &[Flag] = &[
    short("pidfile", 'p', Kind::Text),
    flag("socket", Kind::Text),
    flag("run-gui", Kind::Bool),
    flag("guestagent", Kind::Text),
    flag("nerdctl-archive", Kind::Text),
    flag("progress", Kind::Bool),
];

const COMMANDS: &[Command] = &[
    Command {
        names: &["create"],
        usage: "limactl create FILE.yaml|URL [flags]",
        short: "Create an instance of Lima",
        flags: &[CREATE, EDIT],
        arity: Arity::AtMost(1),
        action: commands::create::create,
    },
    Command {
        names: &["start"],
        usage: "limactl start NAME|FILE.yaml|URL [flags]",
        short: "Start an instance of Lima",
        flags: &[CREATE, EDIT, START],
        arity: Arity::AtMost(1),
        action: commands::start::start,
    },
    Command {
        names: &["stop"],
        usage: "limactl stop INSTANCE [flags]",
        short: "Stop an instance",
        flags: &[FORCE],
        arity: Arity::Any,
        action: commands::stop::stop,
    },
    Command {
        names: &["restart"],
        usage: "limactl restart INSTANCE [flags]",
        short: "Restart a running instance",
        flags: &[FORCE, &[flag("progress", Kind::Bool)], EDIT],
        arity: Arity::AtMost(1),
        action: commands::start::restart,
    },
    Command {
        names: &["delete", "remove", "rm"],
        usage: "limactl delete INSTANCE [INSTANCE, ...] [flags]",
        short: "Delete an instance of Lima",
        flags: &[FORCE],
        arity: Arity::AtLeast(1),
        action: commands::stop::delete,
    },
    Command {
        names: &["list", "ls"],
        usage: "limactl list [flags] [INSTANCE]...",
        short: "List instances of Lima",
        flags: &[LIST],
        arity: Arity::Any,
        action: commands::list::list,
    },
    Command {
        names: &["shell"],
        usage: "limactl shell [flags] INSTANCE [COMMAND...]",
        short: "Execute shell in Lima",
        flags: &[SHELL],
        arity: Arity::Any,
        action: shell::shell,
    },
    Command {
        names: &["copy", "cp"],
        usage: "limactl copy SOURCE ... TARGET [flags]",
        short: "Copy files between host and guest",
        flags: &[COPY],
        arity: Arity::AtLeast(2),
        action: shell::copy,
    },
    Command {
        names: &["edit"],
        usage: "limactl edit INSTANCE|FILE.yaml [flags]",
        short: "Edit an instance of Lima or a template",
        flags: &[AND_START, EDIT],
        arity: Arity::AtMost(1),
        action: commands::change::edit,
    },
    Command {
        names: &["clone"],
        usage: "limactl clone OLDINST NEWINST [flags]",
        short: "Clone an instance of Lima",
        flags: &[AND_START, EDIT],
        arity: Arity::Exactly(2),
        action: commands::change::clone,
    },
    Command {
        names: &["rename"],
        usage: "limactl rename OLDINST NEWINST [flags]",
        short: "Rename an instance of Lima",
        flags: &[AND_START, EDIT],
        arity: Arity::Exactly(2),
        action: commands::change::rename,
    },
    Command {
        names: &["protect"],
        usage: "limactl protect INSTANCE [INSTANCE, ...] [flags]",
        short: "Protect an instance to prohibit accidental removal",
        flags: &[],
        arity: Arity::AtLeast(1),
        action: commands::change::protect,
    },
    Command {
        names: &["unprotect"],
        usage: "limactl unprotect INSTANCE [INSTANCE, ...] [flags]",
        short: "Unprotect an instance",
        flags: &[],
        arity: Arity::AtLeast(1),
        action: commands::change::unprotect,
    },
    Command {
        names: &["validate"],
        usage: "limactl validate FILE.yaml [FILE.yaml, ...] [flags]",
        short: "Validate YAML templates",
        flags: &[&[flag("fill", Kind::Bool)]],
        arity: Arity::AtLeast(1),
        action: commands::create::validate,
    },
    Command {
        names: &["watch"],
        usage: "limactl watch [INSTANCE]... [flags]",
        short: "Watch events from instances",
        flags: &[&[
            flag("json", Kind::Bool),
            flag("history", Kind::Bool),
            flag("verbose", Kind::Bool),
        ]],
        arity: Arity::Any,
        action: commands::watch::watch,
    },
    Command {
        names: &["info"],
        usage: "limactl info [flags]",
        short: "Show diagnostic information",
        flags: &[&[flag("yq", Kind::Text)]],
        arity: Arity::Exactly(0),
        action: commands::list::info,
    },
    Command {
        names: &["snapshot"],
        usage: "limactl snapshot COMMAND INSTANCE [flags]",
        short: "Manage instance snapshots",
        flags: &[&[flag("tag", Kind::Text), short("quiet", 'q', Kind::Bool)]],
        arity: Arity::AtLeast(1),
        action: commands::change::snapshot,
    },
    Command {
        names: &["hostagent"],
        usage: "limactl hostagent INSTANCE [flags]",
        short: "Run hostagent",
        flags: &[AGENT],
        arity: Arity::Exactly(1),
        action: agent::hostagent,
    },
];

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let home = Home::find()?;
    let faults = Faults::read(&home);
    faults.log_call(args);
    let Some(at) = command_at(args) else {
        return without_command(args, &faults);
    };
    let name = args[at].as_str();
    if name == "help" {
        return usage();
    }
    let Some(command) = COMMANDS.iter().find(|c| c.names.contains(&name)) else {
        bail!("unknown command {name:?} for \"limactl\"");
    };
    let mut rest = args[..at].to_vec();
    rest.extend_from_slice(&args[at + 1..]);
    let flags: Vec<Flag> = command
        .flags
        .iter()
        .flat_map(|set| set.iter().copied())
        .collect();
    let given = flags::parse(&rest, &flags, command.names[0] != "shell")?;
    if given.bool("help") {
        return usage();
    }
    check_arity(command, &given)?;
    if given.is_set("yes") && given.is_set("tty") {
        bail!("cannot use both --tty and --yes flags at the same time");
    }
    faults.begin(command.names[0]);
    (command.action)(&Context { home, faults }, &given)
}

/// The first word that is neither a flag nor its value.
fn command_at(args: &[String]) -> Option<usize> {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if arg == "--" {
            return None;
        }
        if !arg.starts_with('-') {
            return Some(at);
        }
        let takes_value =
            |flag: &Flag| arg.trim_start_matches('-') == flag.name && flag.kind != Kind::Bool;
        at += if GLOBAL.iter().any(takes_value) { 2 } else { 1 };
    }
    None
}

fn without_command(args: &[String], faults: &Faults) -> Result<ExitCode> {
    let flags = [short("version", 'v', Kind::Bool)];
    let given = flags::parse(args, &flags, true)?;
    if given.bool("version") {
        faults.begin("version");
        writeln!(std::io::stdout(), "limactl version {}", faults.version())?;
        return Ok(ExitCode::SUCCESS);
    }
    usage()
}

fn usage() -> Result<ExitCode> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "Lima: Linux virtual machines\n\nUsage:\n  limactl [command]\n\nCommands:"
    )?;
    for command in COMMANDS {
        writeln!(out, "  {:<12} {}", command.names[0], command.short)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_arity(command: &Command, given: &Given) -> Result<()> {
    let count = given.args.len();
    let problem = match command.arity {
        Arity::Exactly(0) if count > 0 => {
            format!(
                "unknown command {:?} for \"limactl {}\"",
                given.args[0], command.names[0]
            )
        }
        Arity::Exactly(n) if count != n => format!("accepts {n} arg(s), received {count}"),
        Arity::AtLeast(n) if count < n => {
            format!("requires at least {n} arg(s), only received {count}")
        }
        Arity::AtMost(n) if count > n => format!("accepts at most {n} arg(s), received {count}"),
        _ => return Ok(()),
    };
    let path = format!("limactl {}", command.names[0]);
    bail!(
        "`{path}` {problem}.\nSee `{path} --help`.\n\nUsage:  {}\n\n{}",
        command.usage,
        command.short
    )
}
