//! `list` and `info`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use super::Context;
use crate::flags::Given;
use crate::inspect::{Instance, inspect};
use crate::log::{self, quoted};

pub(crate) fn list(context: &Context, given: &Given) -> Result<ExitCode> {
    let format = format_of(given)?;
    let all = context.home.instances()?;
    if given.args.is_empty() && all.is_empty() {
        log::warn("No instance found. Run `limactl create` to create an instance.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut unmatched = false;
    let names = if given.args.is_empty() {
        all
    } else {
        let mut names = Vec::new();
        for arg in &given.args {
            if all.contains(arg) {
                names.push(arg.clone());
            } else {
                log::warn(format!("No instance matching {arg} found."));
                unmatched = true;
            }
        }
        names
    };
    let mut out = std::io::stdout().lock();
    if given.bool("quiet") {
        for name in &names {
            writeln!(out, "{name}")?;
        }
    } else {
        let mut instances = Vec::new();
        for name in &names {
            instances.extend(found(context, name)?);
        }
        match format {
            "json" => {
                for instance in &instances {
                    writeln!(out, "{}", instance.json(&context.home))?;
                }
            }
            _ => table(&mut out, &instances)?,
        }
    }
    out.flush()?;
    if unmatched {
        bail!("unmatched instances");
    }
    Ok(ExitCode::SUCCESS)
}

fn format_of(given: &Given) -> Result<&str> {
    if given.bool("json") && given.is_set("format") {
        bail!("option --json conflicts with option --format");
    }
    let format = if given.bool("json") {
        "json"
    } else {
        given.text("format").unwrap_or("table")
    };
    if given.bool("quiet") && format != "table" {
        bail!("option --quiet can only be used with '--format table'");
    }
    for unsupported in ["yq", "filter", "list-fields", "all-fields"] {
        if given.is_set(unsupported) {
            bail!("the stand-in of the tests has no --{unsupported}");
        }
    }
    match format {
        "json" | "table" => Ok(format),
        other => bail!("the stand-in of the tests has no format {}", quoted(other)),
    }
}

/// An instance; broken, where a directory has no lima.yaml; nothing, where it is gone.
fn found(context: &Context, name: &str) -> Result<Option<Instance>> {
    if crate::home::check_name(name).is_err() {
        return Ok(None);
    }
    if let Some(instance) = inspect(&context.home, name, &context.faults)? {
        if !instance.errors.is_empty() {
            let errors = format!("[{}]", instance.errors.join(" "));
            log::warn_with(
                &format!("instance {} has errors", quoted(name)),
                &[("errors", &errors)],
            );
        }
        return Ok(Some(instance));
    }
    let dir = context.home.instance(name)?;
    if !dir.exists() {
        return Ok(None);
    }
    let error = format!(
        "open {}: no such file or directory",
        dir.join("lima.yaml").display()
    );
    log::warn_with(
        &format!("instance {} has errors", quoted(name)),
        &[("errors", &format!("[{error}]"))],
    );
    Ok(Some(Instance::without_yaml(name, dir, error)))
}

fn table(out: &mut impl Write, instances: &[Instance]) -> Result<()> {
    writeln!(
        out,
        "{:<20} {:<10} {:<20} {:<8} {:<8} {:<5} {:<8} {:<8} DIR",
        "NAME", "STATUS", "SSH", "VMTYPE", "ARCH", "CPUS", "MEMORY", "DISK"
    )?;
    for instance in instances {
        let Some(yaml) = &instance.yaml else {
            writeln!(out, "{:<20} {:<10}", instance.name, instance.status.word())?;
            continue;
        };
        writeln!(
            out,
            "{:<20} {:<10} {:<20} {:<8} {:<8} {:<5} {:<8} {:<8} {}",
            instance.name,
            instance.status.word(),
            format!("127.0.0.1:{}", instance.ssh_port),
            yaml.vm_type,
            yaml.arch,
            yaml.cpus,
            yaml.memory,
            yaml.disk,
            instance.dir.display()
        )?;
    }
    Ok(())
}

pub(crate) fn info(context: &Context, given: &Given) -> Result<ExitCode> {
    if given.text("yq").is_some_and(|yq| yq != ".") {
        bail!("the stand-in of the tests has no --yq");
    }
    let mut drivers = vec!["qemu"];
    if context.faults.allows_vz() {
        drivers.push("vz");
    }
    let info = json!({
        "version": context.faults.version(),
        "templates": [],
        "limaHome": context.home.dir(),
        "vmTypes": drivers,
        "hostOS": std::env::consts::OS,
        "hostArch": std::env::consts::ARCH,
        "identityFile": context.home.key(),
    });
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string_pretty(&info)?
    )?;
    Ok(ExitCode::SUCCESS)
}
