//! `start` and `restart`: the host agent is started, and its events are read until the guest runs.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::Context;
use super::create::{DEFAULT, accept, listing, load_or_create, prepare};
use super::stop::{by_force, gracefully};
use crate::flags::{Given, seconds};
use crate::inspect::{Instance, Status, existing};
use crate::log::{self, quoted};
use crate::yaml::Yaml;
use crate::{edit, namespace};

/// What `--timeout` is without being given.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How long the agent has until its pid file is there.
const AGENT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub(crate) fn start(context: &Context, given: &Given) -> Result<ExitCode> {
    if let Some(code) = listing(given) {
        return code;
    }
    if given.bool("foreground") {
        bail!("the stand-in of the tests has no --foreground");
    }
    let instance = load_or_create(context, given, false)?;
    match instance.status {
        Status::Running => {
            log::info(format!(
                "The instance {} is already running. Run `limactl shell {}` to open the shell.",
                quoted(&instance.name),
                instance.name
            ));
            return Ok(ExitCode::SUCCESS);
        }
        Status::Stopped => {}
        other => log::warn(format!(
            "expected status `Stopped`, got {}",
            quoted(other.word())
        )),
    }
    let timeout = given
        .text("timeout")
        .and_then(seconds)
        .filter(|&seconds| seconds > 0.0);
    let timeout = timeout.map_or(TIMEOUT, Duration::from_secs_f64);
    run(context, &instance, timeout, given.bool("progress"))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run(
    context: &Context,
    instance: &Instance,
    timeout: Duration,
    progress: bool,
) -> Result<()> {
    let dir = &instance.dir;
    let yaml = instance.yaml()?;
    let pid_file = dir.join("ha.pid");
    if pid_file.exists() {
        bail!(
            "instance {} seems running (hint: remove {} if the instance is not actually running)",
            quoted(&instance.name),
            quoted(&pid_file.to_string_lossy())
        );
    }
    log::info(format!(
        "Starting the instance {} with internal VM driver {}",
        quoted(&instance.name),
        quoted(&yaml.vm_type)
    ));
    prepare(context, instance)?;
    let (out, err) = (dir.join("ha.stdout.log"), dir.join("ha.stderr.log"));
    let mut agent = spawn(&instance.name, dir, &pid_file, &out, &err, progress)?;
    context.faults.point("start", "agent");
    let until = Instant::now() + AGENT;
    while !pid_file.exists() {
        if Instant::now() > until {
            bail!(
                "hostagent ({}) did not start up in 5s (hint: see {})",
                quoted(&pid_file.to_string_lossy()),
                quoted(&err.to_string_lossy())
            );
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    watch(&mut agent, &out, timeout, instance)?;
    context.faults.point("start", "running");
    Ok(())
}

/// The agent gets a group of its own: what ends this process leaves it alone.
fn spawn(
    name: &str,
    dir: &Path,
    pid_file: &Path,
    out: &Path,
    err: &Path,
    progress: bool,
) -> Result<Child> {
    for log in [out, err] {
        let _ = std::fs::remove_file(log);
    }
    let mut command = Command::new(namespace::own_program()?);
    command
        .args(["hostagent", "--pidfile"])
        .arg(pid_file)
        .arg("--socket")
        .arg(dir.join("ha.sock"));
    if progress {
        command.arg("--progress");
    }
    let child = command
        .arg(name)
        .stdin(Stdio::null())
        .stdout(File::create(out)?)
        .stderr(File::create(err)?)
        .process_group(0)
        .spawn()?;
    Ok(child)
}

/// Reads events until the guest runs.
fn watch(agent: &mut Child, out: &Path, timeout: Duration, instance: &Instance) -> Result<()> {
    let until = Instant::now() + timeout;
    let mut reader = BufReader::new(File::open(out)?);
    let mut line = String::new();
    let mut said_port = false;
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
        if let (false, Some(port)) = (said_port, status["sshLocalPort"].as_u64()) {
            log::info(format!("SSH Local Port: {port}"));
            said_port = true;
        }
        if let Some(text) = status["cloudInitProgress"]["logLine"].as_str() {
            log::info(format!("[cloud-init] {text}"));
        }
        if status["exiting"] == true {
            bail!(
                "exiting, status={status}, hint: see {}",
                quoted(&out.with_file_name("ha.stderr.log").to_string_lossy())
            );
        }
        if status["running"] == true {
            if status["degraded"] == true {
                bail!("degraded, status={status}");
            }
            log::info(format!(
                "READY. Run `limactl shell {}` to open the shell.",
                instance.name
            ));
            return Ok(());
        }
    }
}

pub(crate) fn restart(context: &Context, given: &Given) -> Result<ExitCode> {
    let name = given.args.first().map_or(DEFAULT, String::as_str);
    let mut instance = existing(&context.home, name, &context.faults)?;
    let path = instance.dir.join("lima.yaml");
    let text = std::fs::read_to_string(&path)?;
    let params: Vec<String> = instance.yaml()?.param.keys().cloned().collect();
    let new = edit::apply(&text, &edit::expressions(given, &params)?)?;
    if new != text {
        let yaml = Yaml::parse(&new, "main file")?;
        accept(context, &yaml).map_err(|error| edit::reject(&new, &error))?;
        std::fs::write(&path, &new)?;
        log::info(format!("Instance {} configuration edited", quoted(name)));
    }
    if given.bool("force") {
        log::info("Restarting the instance forcibly");
        by_force(context, &instance)?;
    } else if instance.status == Status::Running {
        gracefully(context, &instance)?;
    } else {
        log::warn("The instance is not running, continuing with the restart");
    }
    instance = existing(&context.home, name, &context.faults)?;
    run(context, &instance, TIMEOUT, given.bool("progress"))?;
    Ok(ExitCode::SUCCESS)
}
