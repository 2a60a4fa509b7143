//! `config`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::backend::{Nesting, Settings};
use lxc_dev_manager_core::preferences::{Preference, Preferences};
use serde_json::{Map, Value, json};

use super::multi_env::{Done, each, or_all};
use crate::args::{ConfigCommand, SetPreference, Up};
use crate::context::Context;

pub(crate) async fn run(context: &Context, command: ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Apply(args) => apply(context, args).await,
        ConfigCommand::Show => show(context),
        ConfigCommand::Set(args) => set(context, &args),
    }
}

fn show(context: &Context) -> Result<u8> {
    let (preferences, warning) = Preferences::read(context.operations.home())?;
    if let Some(warning) = warning {
        context.printer.status(&warning);
    }
    let all = Preference::ALL.map(|preference| (preference, preferences.value(preference)));
    let data: Map<String, Value> = all
        .iter()
        .map(|(preference, value)| (preference.name().to_owned(), value.clone()))
        .collect();
    context
        .printer
        .data(&json!({ "preferences": data }), |printer| {
            let lines = all.iter().map(|(preference, value)| {
                let about = printer.dim(&format!("# {}", preference.description()));
                format!("{} = {value}  {about}\n", preference.name())
            });
            lines.collect()
        });
    Ok(0)
}

fn set(context: &Context, args: &SetPreference) -> Result<u8> {
    let home = context.operations.home();
    Preferences::set(home, args.name, &args.value)?;
    let value = Preferences::read(home)?.0.value(args.name);
    let name = args.name.name();
    let data = json!({ "preference": name, "value": value });
    context.printer.done(&data, |printer| {
        format!("Set {} to {value}", printer.bold(name))
    });
    Ok(0)
}

async fn apply(context: &Context, args: Up) -> Result<u8> {
    let project = context.project()?;
    let patterns = or_all(args.names);
    each(context, &project, &patterns, async |project, env| {
        let configured = context.operations.configure(&project, &env).await?;
        let changes = changes(&configured.before, &configured.now);
        let name = context.printer.bold(env.as_str());
        let lines: Vec<String> = changes
            .iter()
            .map(|(setting, before, now)| format!("{setting} {before} → {now}"))
            .collect();
        Ok(Done {
            data: json!({
                "env": env,
                "changed": configured.changed(),
                "from_next_start": configured.from_next_start,
                "changes": changes.iter().map(change).collect::<Vec<_>>(),
            }),
            text: match configured.changed() {
                true if configured.from_next_start => format!(
                    "{name}: {}; effective after `lxc-dev-manager restart {env}`",
                    lines.join(", ")
                ),
                true => format!("{name}: {}", lines.join(", ")),
                false => format!("{name} is already up to date"),
            },
        })
    })
    .await
}

type Change = (&'static str, String, String);

fn change((setting, before, now): &Change) -> Value {
    json!({ "what": setting, "before": before, "now": now })
}

/// Describes the differences between two settings.
fn changes(before: &Settings, now: &Settings) -> Vec<Change> {
    let none = || "none".to_owned();
    let all = |settings: &Settings| {
        let limits = &settings.limits;
        let mounts: Vec<String> = settings
            .mounts
            .iter()
            .map(|mount| mount.guest.display().to_string())
            .collect();
        [
            ("cpus", limits.cpus.map_or_else(none, |n| n.to_string())),
            ("memory", limits.memory.map_or_else(none, |n| n.to_string())),
            ("disk", limits.disk.map_or_else(none, |n| n.to_string())),
            ("nesting", nesting(settings.nesting).to_owned()),
            ("autostart", settings.autostart.to_string()),
            (
                "mounts",
                if mounts.is_empty() {
                    none()
                } else {
                    mounts.join(" ")
                },
            ),
            (
                "forwarding",
                if settings.native_ports.is_empty() {
                    "lxc-dev-manager".to_owned()
                } else {
                    let ports: Vec<_> = settings
                        .native_ports
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                    format!("native ({})", ports.join(" "))
                },
            ),
            ("rosetta", settings.rosetta.to_string()),
        ]
    };
    all(before)
        .into_iter()
        .zip(all(now))
        .filter(|(before, now)| before.1 != now.1)
        .map(|((setting, before), (_, now))| (setting, before, now))
        .collect()
}

fn nesting(nesting: Nesting) -> &'static str {
    match nesting {
        Nesting::On => "true",
        Nesting::Off => "false",
        Nesting::Docker => "docker",
    }
}
