//! The host agent outlives `limactl`. It starts the guest, serves SSH and forwards, writes events, and packs the disk
//! at the end. Requests, messages of the guest and its end arrive on one channel.

mod forwards;
mod sshd;

pub(crate) use sshd::CONFIG as SSHD_CONFIG;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::json;

use crate::commands::Context;
use crate::faults::Faults;
use crate::guest::{GuestMessage, Spec};
use crate::home::Home;
use crate::instance::Instance;
use crate::process::{read_pid, signal};
use crate::{disk, log, namespace};
use sshd::Listener;

/// Request on `ha.sock`.
pub(crate) const STOP: &str = "stop\n";
/// Lima prepares images before the driver starts, and reports the instance as broken until then.
const DRIVER_DELAY: Duration = Duration::from_millis(400);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

enum Message {
    Stop,
    Guest(GuestMessage),
    /// End of the driver, and whether it succeeded.
    Ended(bool),
}

pub(crate) fn run(context: &Context, name: &str) -> Result<()> {
    let instance = Instance::find(&context.home, name)?;
    let [pid_file, socket] = ["ha.pid", "ha.sock"].map(|file| instance.dir.join(file));
    if read_pid(&pid_file) != 0 {
        bail!("another hostagent may already be running");
    }
    fs::write(&pid_file, format!("{}\n", std::process::id()))?;
    let result = serve(context, instance, &socket);
    if let Err(error) = &result {
        log::agent("fatal", &format!("{error:#}"));
    }
    // Before the event: afterwards the instance may be started again.
    for file in [socket, pid_file] {
        let _ = fs::remove_file(file);
    }
    log::event(&json!({"exiting": true}));
    result
}

fn serve(context: &Context, instance: Instance, socket: &Path) -> Result<()> {
    let (sender, receiver) = channel();
    let listener = Listener::bind()?;
    write_ssh_config(context, &instance, listener.port)?;
    listen(socket, sender.clone())?;
    std::thread::sleep(DRIVER_DELAY);
    if context.faults.loses_port() {
        let address = format!("tcp:127.0.0.1:{}-:22", listener.port);
        log::agent(
            "debug",
            &format!("qemu[stderr]: Could not set up host forwarding rule '{address}'"),
        );
        log::agent("info", "Driver stopped due to error: `exit status 1`");
        return Ok(());
    }
    let mut agent = Agent::start(context, instance, listener, sender)?;
    let clean = agent.run(&receiver)?;
    agent.save(clean)
}

/// A connection without a request only checks that the agent responds.
fn listen(socket: &Path, sender: Sender<Message>) -> Result<()> {
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            if BufReader::new(stream).read_line(&mut line).is_ok() && line == STOP {
                let _ = sender.send(Message::Stop);
            }
        }
    });
    Ok(())
}

fn write_ssh_config(context: &Context, instance: &Instance, port: u16) -> Result<()> {
    let (key, user) = (context.home.key(), &instance.yaml()?.user.name);
    let text = format!(
        "Host {}\n  IdentityFile \"{}\"\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  \
         BatchMode yes\n  IdentitiesOnly yes\n  User {user}\n  Hostname 127.0.0.1\n  Port {port}\n",
        instance.hostname(),
        key.display(),
    );
    Ok(fs::write(instance.dir.join("ssh.config"), text)?)
}

struct Agent {
    home: Home,
    instance: Instance,
    scratch: PathBuf,
    input: ChildStdin,
    listener: Listener,
    /// Host pid of the guest's first process.
    init: u32,
}

impl Agent {
    fn start(
        context: &Context,
        instance: Instance,
        listener: Listener,
        sender: Sender<Message>,
    ) -> Result<Self> {
        let user = &instance.yaml()?.user;
        let scratch = context.home.scratch(&instance.name);
        // Left by a power cut.
        disk::remove_scratch(user, &scratch)?;
        fs::create_dir_all(scratch.join("root"))?;
        let spec = spec(context, &instance, &scratch)?;
        let serial = File::create(instance.dir.join("serial.log"))?;
        let mut driver = namespace::guest(user)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(serial)
            .spawn()
            .context("cannot run unshare")?;
        fs::write(instance.dir.join("qemu.pid"), format!("{}\n", driver.id()))?;
        let mut input = driver.stdin.take().context("no input of the guest")?;
        writeln!(input, "{}", serde_json::to_string(&spec)?)?;
        forward_messages(driver, sender)?;
        Ok(Self {
            home: context.home.clone(),
            instance,
            scratch,
            input,
            listener,
            init: 0,
        })
    }

    /// Runs until the guest ends; returns whether it has shut down.
    fn run(&mut self, receiver: &Receiver<Message>) -> Result<bool> {
        let mut deadline: Option<Instant> = None;
        loop {
            let wait = deadline.map_or(SHUTDOWN_TIMEOUT, |at| {
                at.saturating_duration_since(Instant::now())
            });
            match receiver.recv_timeout(wait) {
                Ok(Message::Stop) => {
                    // Fails while the guest is starting; the timeout kills it then.
                    let _ = writeln!(self.input, "poweroff");
                    deadline.get_or_insert(Instant::now() + SHUTDOWN_TIMEOUT);
                }
                Ok(Message::Guest(message)) => self.handle(message)?,
                Ok(Message::Ended(success)) => return Ok(success || deadline.is_some()),
                Err(RecvTimeoutError::Timeout) if deadline.is_some() => {
                    let driver = read_pid(&self.instance.dir.join("qemu.pid"));
                    signal(driver, Signal::KILL);
                    deadline = Some(Instant::now() + SHUTDOWN_TIMEOUT);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
    }

    fn handle(&mut self, message: GuestMessage) -> Result<()> {
        match message {
            GuestMessage::Pid(pid) => {
                self.init = pid;
                fs::write(self.scratch.join(namespace::INIT), pid.to_string())?;
            }
            GuestMessage::Reachable => {
                fs::write(self.scratch.join("booted"), "")?;
                let log = self.instance.dir.join("serial.log");
                self.listener.serve(self.init, log)?;
                let rules = &self.instance.yaml()?.port_forwards;
                forwards::serve(self.init, &self.instance, rules);
            }
            GuestMessage::Freeze => {
                let answer = match self.pack("freeze") {
                    Ok(()) => "frozen",
                    Err(error) => {
                        log::agent("warning", &format!("{error:#}"));
                        "not frozen"
                    }
                };
                // Fails if the guest has ended.
                let _ = writeln!(self.input, "{answer}");
            }
            GuestMessage::Failed(reason) => {
                log::agent("error", &reason);
                log::event(&json!({"running": true, "degraded": true}));
            }
            GuestMessage::Booted => log::event(&json!({"running": true})),
        }
        Ok(())
    }

    fn pack(&self, command: &str) -> Result<()> {
        // The current faults, not those at the start.
        let faults = Faults::read(&self.home);
        let (user, root) = (&self.instance.yaml()?.user, self.scratch.join("root"));
        disk::pack(user, &root, &self.instance.dir, &faults, command)
    }

    /// Packs the disk after a shutdown. A killed guest loses everything since its last pack.
    fn save(&self, clean: bool) -> Result<()> {
        let _ = fs::remove_file(self.instance.dir.join("qemu.pid"));
        if clean && self.scratch.join("booted").exists() {
            self.pack("stop")?;
        }
        disk::remove_scratch(&self.instance.yaml()?.user, &self.scratch)
    }
}

fn spec(context: &Context, instance: &Instance, scratch: &Path) -> Result<Spec> {
    let (yaml, faults) = (instance.yaml()?, &context.faults);
    Ok(Spec {
        hostname: instance.hostname(),
        disk: instance.dir.join("disk"),
        root: scratch.join("root"),
        user: yaml.user.clone(),
        key: context.home.public_key()?,
        mounts: yaml
            .mounts
            .iter()
            .filter(|_| faults.mounts())
            .cloned()
            .collect(),
        provision: yaml.provision.clone(),
        boot_delay: faults.boot_delay(),
        freezes: faults.freezes(),
    })
}

fn forward_messages(mut driver: Child, sender: Sender<Message>) -> Result<()> {
    let output = driver.stdout.take().context("no output of the guest")?;
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Ok(message) = serde_json::from_str(&line) {
                let _ = sender.send(Message::Guest(message));
            }
        }
        let success = driver.wait().is_ok_and(|status| status.success());
        let _ = sender.send(Message::Ended(success));
    });
    Ok(())
}
