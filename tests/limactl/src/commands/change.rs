//! `edit`, `clone`, `rename`, `protect`, `unprotect`, and `snapshot`, which says no.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::create::{DEFAULT, accept, make_dir};
use super::{Context, start};
use crate::disk::copy_sparse;
use crate::edit as yaml_edit;
use crate::flags::Given;
use crate::inspect::{Instance, Status, existing, inspect};
use crate::log::{self, quoted};
use crate::yaml::Yaml;

const START_TIMEOUT: Duration = Duration::from_secs(600);

pub(crate) fn edit(context: &Context, given: &Given) -> Result<ExitCode> {
    let name = given.args.first().map_or(DEFAULT, String::as_str);
    let instance = inspect(&context.home, name, &context.faults)?
        .ok_or_else(|| anyhow!("instance {} not found", quoted(name)))?;
    if instance.status == Status::Running {
        bail!("cannot edit a running instance");
    }
    let path = instance.dir.join("lima.yaml");
    let text = std::fs::read_to_string(&path)?;
    let expressions = yaml_edit::expressions(given, &params_of(&text))?;
    if expressions.is_empty() {
        log::info("Aborting, as requested by saving the file with empty content");
        return Ok(ExitCode::SUCCESS);
    }
    if !change(context, &path, &text, &expressions)? {
        log::info("Aborting, no changes made to the instance");
        return Ok(ExitCode::SUCCESS);
    }
    log::info(format!("Instance {} configuration edited", quoted(name)));
    and_start(context, given, name)
}

fn params_of(text: &str) -> Vec<String> {
    Yaml::parse(text, "main file")
        .map_or_else(|_| Vec::new(), |yaml| yaml.param.into_keys().collect())
}

/// Whether anything has changed.
fn change(context: &Context, path: &Path, text: &str, expressions: &[String]) -> Result<bool> {
    let new = yaml_edit::apply(text, expressions)?;
    if new == text {
        return Ok(false);
    }
    let yaml = Yaml::parse(&new, &format!("main file `{}`", path.display()))?;
    let accepted = accept(context, &yaml).and_then(|()| refuse_shrinking(text, &yaml));
    accepted.map_err(|error| yaml_edit::reject(&new, &error))?;
    context.faults.point("edit", "before-write");
    std::fs::write(path, &new)?;
    Ok(true)
}

fn refuse_shrinking(text: &str, new: &Yaml) -> Result<()> {
    let Ok(old) = Yaml::parse(text, "main file") else {
        return Ok(());
    };
    if new.disk_bytes()? < old.disk_bytes()? {
        bail!(
            "field `disk`: shrinking the disk ({} --> {}) is not supported",
            old.disk,
            new.disk
        );
    }
    Ok(())
}

fn and_start(context: &Context, given: &Given, name: &str) -> Result<ExitCode> {
    if given.bool("start") {
        let instance = existing(&context.home, name, &context.faults)?;
        start::run(context, &instance, START_TIMEOUT, false)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn clone(context: &Context, given: &Given) -> Result<ExitCode> {
    clone_or_rename(context, given, false)
}

pub(crate) fn rename(context: &Context, given: &Given) -> Result<ExitCode> {
    clone_or_rename(context, given, true)
}

fn clone_or_rename(context: &Context, given: &Given, renames: bool) -> Result<ExitCode> {
    let (old, new) = (given.args[0].as_str(), given.args[1].as_str());
    let kind = if renames { "rename" } else { "clone" };
    let source = inspect(&context.home, old, &context.faults)?
        .ok_or_else(|| anyhow!("instance {} not found", quoted(old)))?;
    if old == new {
        bail!(
            "new instance name {} must be different from {}",
            quoted(new),
            quoted(old)
        );
    }
    if source.status == Status::Running {
        bail!("cannot {kind} a running instance");
    }
    let dir = context.home.instance(new)?;
    if dir.symlink_metadata().is_ok() {
        bail!("instance {} already exists", quoted(new));
    }
    let dir = context.home.new_instance(new)?;
    make_dir(&dir)?;
    copy_files(context, &source, &dir, renames)?;
    let path = dir.join("lima.yaml");
    let text = std::fs::read_to_string(&path)?;
    let expressions = yaml_edit::expressions(given, &params_of(&text))?;
    if !expressions.is_empty() {
        change(context, &path, &text, &expressions)?;
    }
    and_start(context, given, new)
}

/// In the order of names, so lima.yaml comes after the disk; what belongs to a process or is protected stays behind.
fn copy_files(context: &Context, source: &Instance, dir: &Path, renames: bool) -> Result<()> {
    let kind = if renames { "rename" } else { "clone" };
    let mut names: Vec<_> = std::fs::read_dir(&source.dir)?
        .collect::<std::io::Result<Vec<_>>>()?
        .into_iter()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    for name in names {
        let text = name.to_string_lossy();
        let skipped = ["protected", "swtpm"].contains(&text.as_ref())
            || [".pid", ".sock", ".tmp"]
                .iter()
                .any(|end| text.ends_with(end));
        let (from, to) = (source.dir.join(&name), dir.join(&name));
        if skipped || from.is_dir() {
            continue;
        }
        if text == "lima.yaml" {
            context.faults.point(kind, "half");
        }
        if text == "vz-identifier" {
            // Empty, not absent: it says that the instance exists already.
            std::fs::write(&to, "")?;
        } else if renames {
            std::fs::rename(&from, &to)?;
        } else {
            context.faults.disk("clone", &to)?;
            copy_sparse(&mut File::open(&from)?, &to)
                .with_context(|| format!("copy {}", from.display()))?;
            std::fs::set_permissions(&to, std::fs::metadata(&from)?.permissions())?;
        }
    }
    if renames {
        std::fs::remove_dir_all(&source.dir)?;
    }
    Ok(())
}

pub(crate) fn protect(context: &Context, given: &Given) -> Result<ExitCode> {
    each(context, given, |instance| {
        if instance.protected {
            log::warn(format!(
                "Instance {} is already protected. Skipping.",
                quoted(&instance.name)
            ));
            return Ok(());
        }
        std::fs::write(instance.dir.join("protected"), "")?;
        log::info(format!("Protected {}", quoted(&instance.name)));
        Ok(())
    })
}

pub(crate) fn unprotect(context: &Context, given: &Given) -> Result<ExitCode> {
    each(context, given, |instance| {
        if !instance.protected {
            log::warn(format!(
                "Instance {} isn't protected. Skipping.",
                quoted(&instance.name)
            ));
            return Ok(());
        }
        std::fs::remove_file(instance.dir.join("protected"))?;
        log::info(format!("Unprotected {}", quoted(&instance.name)));
        Ok(())
    })
}

fn each(
    context: &Context,
    given: &Given,
    work: impl Fn(&Instance) -> Result<()>,
) -> Result<ExitCode> {
    let mut errors = Vec::new();
    for name in &given.args {
        let done = existing(&context.home, name, &context.faults)
            .map_err(|error| anyhow!("failed to inspect instance {}: {error:#}", quoted(name)))
            .and_then(|instance| work(&instance));
        errors.extend(done.err().map(|error| format!("{error:#}")));
    }
    if errors.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(anyhow!(errors.join("\n")))
    }
}

/// vz has none; qemu's depend on the image's own format, and this program may not use them.
pub(crate) fn snapshot(context: &Context, given: &Given) -> Result<ExitCode> {
    log::warn("`limactl snapshot` is experimental");
    let verbs = [
        "create", "save", "apply", "load", "delete", "del", "list", "ls",
    ];
    let kind = given.args[0].as_str();
    if !verbs.contains(&kind) {
        bail!("unknown command {kind:?} for \"limactl snapshot\"");
    }
    let Some(name) = given.args.get(1) else {
        bail!("requires at least 1 arg(s), only received 0");
    };
    existing(&context.home, name, &context.faults)?;
    if !["list", "ls"].contains(&kind) && given.text("tag").unwrap_or_default().is_empty() {
        bail!("expected tag");
    }
    bail!("unimplemented")
}
