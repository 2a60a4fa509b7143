//! `start`: starts the host agent and reads its events until the guest runs.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::Context;
use crate::instance::{Instance, Status};
use crate::process::POLL_INTERVAL;
use crate::{disk, log, namespace};

const START_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn start(context: &Context, name: &str) -> Result<()> {
    let instance = Instance::find(&context.home, name)?;
    let dir = &instance.dir;
    if instance.status == Status::Running {
        return Ok(());
    }
    let pid_file = dir.join("ha.pid");
    if pid_file.exists() {
        let path = pid_file.display();
        bail!(
            "instance `{name}` seems running (hint: remove `{path}` if the instance is not actually running)"
        );
    }
    // The disk is missing after an interrupted deletion.
    disk::create(instance.yaml()?, dir, &context.faults)?;
    disk::grow(instance.yaml()?, dir)?;
    let mut agent = spawn_agent(name, dir)?;
    context.faults.point("start", "agent");
    wait_until_running(&mut agent, dir)?;
    context.faults.point("start", "running");
    Ok(())
}

/// The agent has its own process group, so it survives a kill of this one.
fn spawn_agent(name: &str, dir: &Path) -> Result<Child> {
    let log = |file: &str| {
        let path = dir.join(file);
        let _ = std::fs::remove_file(&path);
        File::create(path)
    };
    let child = Command::new(namespace::own_program()?)
        .args(["hostagent", name])
        .stdin(Stdio::null())
        .stdout(log("ha.stdout.log")?)
        .stderr(log("ha.stderr.log")?)
        .process_group(0)
        .spawn()?;
    Ok(child)
}

fn wait_until_running(agent: &mut Child, dir: &Path) -> Result<()> {
    let until = Instant::now() + START_TIMEOUT;
    let mut reader = BufReader::new(File::open(dir.join("ha.stdout.log"))?);
    let mut line = String::new();
    loop {
        if reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            if let Some(status) = agent.try_wait()? {
                bail!("host agent process has exited: {status}");
            }
            if Instant::now() > until {
                bail!("did not receive an event with the `running` status");
            }
            std::thread::sleep(POLL_INTERVAL);
            continue;
        }
        let event: Value = serde_json::from_str(&line)?;
        line.clear();
        let status = &event["status"];
        if status["exiting"] == true || status["degraded"] == true {
            let log = dir.join("ha.stderr.log");
            bail!("exiting, status={status}, hint: see `{}`", log.display());
        }
        if status["running"] == true {
            log::print("info", "READY.");
            return Ok(());
        }
    }
}
