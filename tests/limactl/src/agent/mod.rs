//! The host agent: a process that outlives `limactl`, starts the guest, lets `ssh` into it, tells what happens, and writes
//! the guest's disk when it ends.
//!
//! Everything arrives on one channel, at one loop: signals, lines of the guest, its end.

mod api;
mod events;
mod listeners;
mod ports;
mod sshd;

pub(crate) use sshd::CONFIG as SSHD_CONFIG;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;

use crate::commands::Context;
use crate::faults::Faults;
use crate::flags::Given;
use crate::guest::{Spec, Told};
use crate::home::{Home, hostname};
use crate::inspect::{Instance, existing, read_pid};
use crate::yaml::Yaml;
use crate::{disk, edit, log, namespace, shell};
use events::Events;
use sshd::Listener;

/// The real one works on its images before it listens, and again before the driver runs; so long every start shows
/// `Broken`.
const BEFORE_SOCKET: Duration = Duration::from_millis(150);
const BEFORE_DRIVER: Duration = Duration::from_millis(250);
/// How long a guest has to end by itself.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What the loop hears of.
enum Message {
    Signal(&'static str),
    Guest(Told),
    /// Whether the driver has ended well.
    Ended(bool),
}

pub(crate) fn hostagent(context: &Context, given: &Given) -> Result<ExitCode> {
    let name = given.args[0].as_str();
    let Some(socket) = given.text("socket").map(PathBuf::from) else {
        bail!("socket must be specified (limactl version mismatch?)");
    };
    let pid_file = given.text("pidfile").map(PathBuf::from);
    if let Some(path) = &pid_file {
        let pid = read_pid(path);
        if pid != 0 {
            bail!(
                "another hostagent may already be running with pid {pid} (pidfile `{}`)",
                path.display()
            );
        }
        std::fs::write(path, format!("{}\n", std::process::id()))?;
    }
    let events = Arc::new(Events::default());
    let ended = serve(context, name, &socket, &events, given.bool("progress"));
    if let Err(error) = &ended {
        log::agent("fatal", format!("{error:#}"));
    }
    // Files first: who reads the last event may start it again at once.
    let _ = std::fs::remove_file(&socket);
    if let Some(path) = &pid_file {
        let _ = std::fs::remove_file(path);
    }
    events.emit(json!({"exiting": true}));
    ended.map(|()| ExitCode::SUCCESS)
}

fn serve(
    context: &Context,
    name: &str,
    socket: &Path,
    events: &Arc<Events>,
    progress: bool,
) -> Result<()> {
    let (sender, receiver) = channel();
    catch_signals(sender.clone())?;
    let instance = existing(&context.home, name, &context.faults)?;
    let yaml = instance.yaml()?;
    let listener = Listener::bind(yaml.ssh.local_port)?;
    write_ssh_config(context, &instance, yaml, listener.port())?;
    std::thread::sleep(BEFORE_SOCKET);
    api::serve(socket, listener.port())?;
    log::agent(
        "info",
        format!("hostagent socket created at {}", socket.display()),
    );
    std::thread::sleep(BEFORE_DRIVER);
    if context.faults.loses_port() {
        let port = listener.port();
        log::agent(
            "debug",
            format!(
                "qemu[stderr]: qemu-system-x86_64: -netdev user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:22: \
                 Could not set up host forwarding rule 'tcp:127.0.0.1:{port}-:22'"
            ),
        );
        log::agent("info", "Driver stopped due to error: `exit status 1`");
        log::agent("info", "QEMU has already exited");
        return Ok(());
    }
    let mut agent = Agent::start(context, instance.clone(), listener, sender)?;
    events.emit(json!({"sshLocalPort": agent.listener.port()}));
    let clean = agent.run(&receiver, events, progress);
    shell::end_master(&instance);
    agent.save(clean)
}

/// Of the two that end it. No code of this program may run in a handler, so the runtime's do it.
fn catch_signals(sender: Sender<Message>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "interrupt",
                    _ = terminate.recv() => "terminated",
                };
                if sender.send(Message::Signal(name)).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

fn write_ssh_config(context: &Context, instance: &Instance, yaml: &Yaml, port: u16) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut text = String::from("# For 'ssh -F'. Rewritten at each start.\n");
    text.push_str(&format!("Host {}\n", hostname(&instance.name)));
    for (key, value) in shell::options(&context.home, &instance.dir, yaml) {
        text.push_str(&format!("  {key} {value}\n"));
    }
    text.push_str(&format!("  Hostname 127.0.0.1\n  Port {port}\n"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(instance.dir.join("ssh.config"))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// A guest that runs, and what belongs to it.
struct Agent {
    home: Home,
    instance: Instance,
    yaml: Yaml,
    scratch: PathBuf,
    driver_pid: PathBuf,
    input: ChildStdin,
    listener: Listener,
    /// The guest's first process, as the host sees it.
    init: u32,
}

impl Agent {
    fn start(
        context: &Context,
        instance: Instance,
        listener: Listener,
        sender: Sender<Message>,
    ) -> Result<Self> {
        let yaml = instance.yaml()?.clone();
        let scratch = context.home.scratch(&instance.name);
        // What a power cut has left.
        disk::remove_scratch(&yaml.user, &scratch)?;
        std::fs::create_dir_all(scratch.join("root"))?;
        let spec = spec(context, &instance, &yaml, &scratch)?;
        let mut driver = spawn_driver(&instance, &yaml)?;
        let driver_pid = instance.dir.join(format!("{}.pid", yaml.vm_type));
        let pid = if yaml.vm_type == "vz" {
            std::process::id()
        } else {
            driver.id()
        };
        std::fs::write(scratch.join("driver.pid"), driver.id().to_string())?;
        std::fs::write(&driver_pid, format!("{pid}\n"))?;
        let mut input = driver.stdin.take().context("no way to the guest")?;
        writeln!(input, "{}", serde_json::to_string(&spec)?)?;
        hear(driver, sender)?;
        Ok(Self {
            home: context.home.clone(),
            instance,
            yaml,
            scratch,
            driver_pid,
            input,
            listener,
            init: 0,
        })
    }

    /// Until the guest has ended; whether it has ended well.
    fn run(&mut self, receiver: &Receiver<Message>, events: &Arc<Events>, progress: bool) -> bool {
        let mut deadline: Option<Instant> = None;
        loop {
            let wait = deadline.map_or(SHUTDOWN, |at| at.saturating_duration_since(Instant::now()));
            match receiver.recv_timeout(wait) {
                Ok(Message::Signal(name)) => {
                    log::agent(
                        "info",
                        format!("Received {name}, shutting down the host agent"),
                    );
                    // A guest that isn't up yet can't be asked.
                    let _ = writeln!(self.input, "poweroff");
                    deadline.get_or_insert(Instant::now() + SHUTDOWN);
                }
                Ok(Message::Guest(told)) => self.told(told, events, progress),
                Ok(Message::Ended(well)) => {
                    if deadline.is_none() {
                        log::agent("info", "Driver stopped");
                    }
                    return well || deadline.is_some();
                }
                Err(RecvTimeoutError::Timeout)
                    if deadline.is_some_and(|at| at <= Instant::now()) =>
                {
                    log::agent("warning", "the guest doesn't end by itself");
                    self.kill();
                    deadline = Some(Instant::now() + SHUTDOWN);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn kill(&self) {
        let pid = read_pid(&self.scratch.join("driver.pid"));
        crate::commands::stop::signal(pid, rustix::process::Signal::KILL);
    }

    fn told(&mut self, told: Told, events: &Arc<Events>, progress: bool) {
        match told {
            Told::Pid(pid) => {
                self.init = pid;
                let _ = std::fs::write(self.scratch.join(namespace::INIT), pid.to_string());
            }
            Told::Reachable => {
                let _ = std::fs::write(self.scratch.join("booted"), "");
                let log = self.instance.dir.join("serial.log");
                self.listener.serve(self.init, log);
                self.warm_up();
                listeners::watch(
                    self.init,
                    &self.instance,
                    &self.yaml,
                    self.listener.port(),
                    events,
                );
            }
            Told::Line(line) => {
                if progress {
                    events.add(
                        "cloudInitProgress",
                        json!({"logLine": line, "active": true}),
                    );
                }
            }
            Told::Freeze => {
                let root = self.scratch.join("root");
                let user = &self.yaml.user;
                let faults = Faults::read(&self.home);
                let packed = disk::pack(user, &root, &self.instance.dir, &faults, "freeze");
                let answer = match packed {
                    Ok(()) => "frozen",
                    Err(error) => {
                        log::agent("warning", format!("{error:#}"));
                        "not frozen"
                    }
                };
                // A guest that has ended doesn't hear it.
                let _ = writeln!(self.input, "{answer}");
            }
            Told::Failed(what) => {
                log::agent("error", &what);
                events.emit(json!({
                    "running": true,
                    "degraded": true,
                    "errors": [what],
                    "sshLocalPort": self.listener.port(),
                }));
            }
            Told::Booted(code) => {
                log::agent(
                    "info",
                    format!("The boot scripts have ended with code {code}"),
                );
                if progress {
                    events.add("cloudInitProgress", json!({"completed": true}));
                }
                events.emit(json!({"running": true, "sshLocalPort": self.listener.port()}));
            }
        }
    }

    /// The first connection, which later ones share: it outlives the call that needed it.
    fn warm_up(&self) {
        let status = Command::new("ssh")
            .arg("-F")
            .arg(self.instance.dir.join("ssh.config"))
            .args([self.instance.hostname().as_str(), "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => {
                log::agent("info", "The essential requirement 1 of 1 is satisfied")
            }
            other => log::agent("warning", format!("cannot ssh into the guest: {other:?}")),
        }
    }

    /// Writes the disk where the guest has ended well; a killed one loses what it had in memory, and here that is all.
    fn save(&self, clean: bool) -> Result<()> {
        let _ = std::fs::remove_file(&self.driver_pid);
        let root = self.scratch.join("root");
        // What it is told now, not when it was started.
        let faults = Faults::read(&self.home);
        if clean && self.scratch.join("booted").exists() {
            disk::pack(&self.yaml.user, &root, &self.instance.dir, &faults, "stop")?;
        }
        disk::remove_scratch(&self.yaml.user, &self.scratch)
    }
}

fn spec(context: &Context, instance: &Instance, yaml: &Yaml, scratch: &Path) -> Result<Spec> {
    let disk = instance
        .dir
        .join("disk")
        .canonicalize()
        .context("no disk")?;
    Ok(Spec {
        name: instance.name.clone(),
        hostname: hostname(&instance.name),
        instance_id: format!("iid-{}", jiff::Timestamp::now().as_millisecond()),
        disk,
        root: scratch.join("root"),
        user: yaml.user.clone(),
        keys: keys(context, yaml)?,
        mounts: if context.faults.mounts() {
            yaml.mounts.clone()
        } else {
            Vec::new()
        },
        provision: yaml.provision.clone(),
        param: yaml.param.clone(),
        dies_with_agent: yaml.vm_type == "vz",
        boot_delay: context.faults.boot_delay(),
        boot_hangs: context.faults.boot_hangs(),
        freezes: context.faults.freezes(),
    })
}

fn keys(context: &Context, yaml: &Yaml) -> Result<Vec<String>> {
    let mut keys = vec![edit::public_key(&context.home)?];
    if yaml.ssh.load_dot_ssh
        && let Some(home) = std::env::var_os("HOME")
    {
        for entry in std::fs::read_dir(PathBuf::from(home).join(".ssh"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.path().extension().is_some_and(|end| end == "pub") {
                keys.push(std::fs::read_to_string(entry.path())?.trim().to_owned());
            }
        }
    }
    Ok(keys)
}

fn spawn_driver(instance: &Instance, yaml: &Yaml) -> Result<Child> {
    for name in ["serial.log", "serialp.log", "serialv.log"] {
        std::fs::write(instance.dir.join(name), "")?;
    }
    let serial = std::fs::OpenOptions::new()
        .append(true)
        .open(instance.dir.join("serial.log"))?;
    namespace::guest(&yaml.user)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(serial)
        .spawn()
        .map_err(|error| anyhow!("cannot run unshare: {error}"))
}

/// The guest's lines and its end.
fn hear(mut driver: Child, sender: Sender<Message>) -> Result<()> {
    let output = driver.stdout.take().context("no way from the guest")?;
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Ok(told) = serde_json::from_str(&line) {
                let _ = sender.send(Message::Guest(told));
            }
        }
        let well = driver.wait().is_ok_and(|status| status.success());
        let _ = sender.send(Message::Ended(well));
    });
    Ok(())
}
