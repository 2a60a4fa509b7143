//! `stop` and `delete`.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::Context;
use crate::agent::STOP;
use crate::instance::{Instance, Status};
use crate::{disk, log, namespace, process};

/// Includes the shutdown of the guest.
const STOP_TIMEOUT: Duration = Duration::from_secs(190);

pub(super) fn stop(context: &Context, name: &str) -> Result<()> {
    let instance = Instance::find(&context.home, name)?;
    let status = instance.status;
    ensure!(
        status == Status::Running,
        "expected status `Running`, got `{}` (maybe use `limactl stop -f`?)",
        status.word()
    );
    // Lima sends SIGINT instead.
    UnixStream::connect(instance.dir.join("ha.sock"))?.write_all(STOP.as_bytes())?;
    if !process::wait_for_end(&[instance.agent, instance.driver], STOP_TIMEOUT) {
        bail!("did not receive an event with the `exiting` status");
    }
    Ok(())
}

pub(super) fn kill(context: &Context, name: &str) -> Result<()> {
    kill_instance(context, &Instance::find(&context.home, name)?)
}

/// A real driver has all writes on its disk; here the root has to be packed.
fn kill_instance(context: &Context, instance: &Instance) -> Result<()> {
    let processes = [instance.agent, instance.driver];
    // The agent first: it would pack, too.
    for pid in processes {
        process::signal(pid, Signal::KILL);
    }
    process::wait_for_end(&processes, STOP_TIMEOUT);
    if let Err(error) = save(context, instance) {
        log::print("warning", &format!("{error:#}"));
    }
    for entry in fs::read_dir(&instance.dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".pid", ".sock", ".tmp"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn save(context: &Context, instance: &Instance) -> Result<()> {
    let Ok(yaml) = instance.yaml() else {
        return Ok(());
    };
    let scratch = context.home.scratch(&instance.name);
    namespace::end_guest(&scratch);
    // Nothing to save after a power cut.
    if instance.driver != 0 && scratch.join("booted").exists() {
        let root = scratch.join("root");
        disk::pack(&yaml.user, &root, &instance.dir, &context.faults, "stop")?;
    }
    disk::remove_scratch(&yaml.user, &scratch)
}

pub(super) fn delete(context: &Context, name: &str) -> Result<()> {
    let dir = context.home.instance(name);
    if dir.symlink_metadata().is_err() {
        log::print(
            "warning",
            &format!("Ignoring non-existent instance `{name}`"),
        );
        return Ok(());
    }
    let instance = Instance::find(&context.home, name).context("it was NOT deleted")?;
    kill_instance(context, &instance)?;
    if context.faults.has_point("delete", "half") {
        let _ = fs::remove_file(dir.join("disk"));
        context.faults.point("delete", "half");
    }
    fs::remove_dir_all(dir)?;
    Ok(())
}
