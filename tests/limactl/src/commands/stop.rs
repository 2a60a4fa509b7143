//! `stop` and `delete`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::Context;
use super::create::DEFAULT;
use crate::flags::Given;
use crate::inspect::{Instance, Status, existing, inspect, is_alive};
use crate::log::{self, quoted};
use crate::{disk, namespace, shell};

/// How long the host agent and its guest have.
const TIMEOUT: Duration = Duration::from_secs(190);
/// How often to look for the end of a process that isn't our child.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub(crate) fn stop(context: &Context, given: &Given) -> Result<ExitCode> {
    let default = [DEFAULT.to_owned()];
    let names = if given.args.is_empty() {
        &default[..]
    } else {
        &given.args
    };
    let mut errors = Vec::new();
    for name in names {
        let stopped = existing(&context.home, name, &context.faults).and_then(|instance| {
            if given.bool("force") {
                by_force(context, &instance)
            } else {
                gracefully(context, &instance)
            }
        });
        if let Err(error) = stopped {
            errors.push(format!("{error:#}"));
        }
    }
    if errors.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(anyhow!(errors.join("\n")))
    }
}

pub(crate) fn gracefully(_context: &Context, instance: &Instance) -> Result<()> {
    if instance.status != Status::Running {
        bail!(
            "expected status `Running`, got {} (maybe use `limactl stop -f`?)",
            quoted(instance.status.word())
        );
    }
    log::info(format!(
        "Sending SIGINT to hostagent process {}",
        instance.agent
    ));
    signal(instance.agent, Signal::INT);
    log::info("Waiting for the host agent and the driver processes to shut down");
    if !ended(&[instance.agent, instance.driver], TIMEOUT) {
        bail!("did not receive an event with the `exiting` status");
    }
    log::info(format!("The instance {} has shut down", instance.name));
    Ok(())
}

/// The real one kills both processes. What its guest had written stays on its disk; here it has to be packed, if the guest
/// was there until now.
pub(crate) fn by_force(context: &Context, instance: &Instance) -> Result<()> {
    let vm = instance
        .yaml
        .as_ref()
        .map_or("", |yaml| yaml.vm_type.as_str());
    shell::end_master(instance);
    // First the agent, which would pack as well.
    if instance.agent == 0 {
        log::info("The host agent process seems already stopped");
    } else {
        log::info(format!(
            "Sending SIGKILL to the host agent process {}",
            instance.agent
        ));
        signal(instance.agent, Signal::KILL);
    }
    if instance.driver == 0 {
        log::info(format!("The {vm} driver process seems already stopped"));
    } else {
        log::info(format!(
            "Sending SIGKILL to the {vm} driver process {}",
            instance.driver
        ));
        signal(instance.driver, Signal::KILL);
    }
    ended(&[instance.agent, instance.driver], TIMEOUT);
    save(context, instance, instance.driver != 0);
    log::info(format!(
        "Removing *.pid *.sock *.tmp under {}",
        quoted(&instance.dir.to_string_lossy())
    ));
    for entry in std::fs::read_dir(&instance.dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".pid", ".sock", ".tmp"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            log::info(format!(
                "Removing {}",
                quoted(&entry.path().to_string_lossy())
            ));
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn save(context: &Context, instance: &Instance, was_running: bool) {
    let Some(yaml) = &instance.yaml else { return };
    let scratch = context.home.scratch(&instance.name);
    let root = scratch.join("root");
    namespace::end_guest(&scratch);
    if was_running
        && scratch.join("booted").exists()
        && let Err(error) = disk::pack(&yaml.user, &root, &instance.dir, &context.faults, "stop")
    {
        log::warn(format!("{error:#}"));
    }
    if let Err(error) = disk::remove_scratch(&yaml.user, &scratch) {
        log::warn(format!("{error:#}"));
    }
}

pub(crate) fn delete(context: &Context, given: &Given) -> Result<ExitCode> {
    for name in &given.args {
        let Some(instance) = inspect(&context.home, name, &context.faults)? else {
            let dir = context.home.instance(name)?;
            if dir.symlink_metadata().is_ok() {
                bail!(
                    "instance {} directory {} exists but its `lima.yaml` could not be read; it was NOT deleted, in case it is currently being cloned into. If no `limactl` operation is using it, remove it manually",
                    quoted(name),
                    quoted(&dir.to_string_lossy())
                );
            }
            log::warn(format!("Ignoring non-existent instance {}", quoted(name)));
            continue;
        };
        remove(context, &instance, given.bool("force"))
            .map_err(|error| anyhow!("failed to delete instance {}: {error:#}", quoted(name)))?;
        log::info(format!(
            "Deleted {} ({})",
            quoted(name),
            quoted(&instance.dir.to_string_lossy())
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(context: &Context, instance: &Instance, force: bool) -> Result<()> {
    if instance.protected {
        bail!(
            "instance is protected to prohibit accidental removal (Hint: use `limactl unprotect`)"
        );
    }
    if !force && instance.status != Status::Stopped {
        bail!(
            "expected status `Stopped`, got {}",
            quoted(instance.status.word())
        );
    }
    by_force(context, instance)?;
    if context.faults.dies_half("delete") {
        let _ = std::fs::remove_file(instance.dir.join("disk"));
        context.faults.point("delete", "half");
    }
    std::fs::remove_dir_all(&instance.dir)?;
    Ok(())
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may be gone already.
        let _ = kill_process(pid, signal);
    }
}

/// Waits for the end of processes that may not be our children.
pub(crate) fn ended(pids: &[u32], timeout: Duration) -> bool {
    let until = Instant::now() + timeout;
    while pids.iter().any(|&pid| pid != 0 && is_alive(pid)) {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    true
}
