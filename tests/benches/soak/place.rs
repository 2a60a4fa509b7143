//! Three envs with a web server each, and two processes that forward them or have a lease.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::stage::{Running, SERVICE, Stage, ask, until};
use rustix::net::sockopt::socket_peercred;

pub const ENVS: [&str; 3] = ["a", "b", "c"];
pub const SNAPSHOT: &str = "ready";
/// Installs the service on its input, which starts with the env and answers with a word ($1) on a port ($2).
const SET_UP: &str = "cat >/usr/local/bin/web.py && cat >/etc/systemd/system/web.service <<END
[Service]
ExecStart=/usr/bin/python3 /usr/local/bin/web.py $1 0.0.0.0 $2
Restart=always
[Install]
WantedBy=multi-user.target
END
systemctl enable --quiet --now web.service";

pub struct Place {
    /// Processes that forward or have a lease.
    sessions: Vec<Running>,
    /// The env's own ports, in the order of [`ENVS`].
    pub own_ports: Vec<u16>,
    pub stage: Stage,
}

/// State of the forwarder.
#[derive(Debug)]
pub struct Health {
    pub descriptors: usize,
    pub sockets: usize,
    /// PSS in MiB.
    pub memory: f64,
}

impl Place {
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let stage = Stage::new(engine, &ENVS)?;
        for env in ENVS {
            install(&stage, env)?;
            stage
                .workspace
                .ok(&["container", "snapshot", "create", env, SNAPSHOT])?;
        }
        let mut place = Self {
            sessions: Vec::new(),
            own_ports: Vec::new(),
            stage,
        };
        for _ in 0..2 {
            place.add_session()?;
        }
        for (index, env) in ENVS.iter().enumerate() {
            until("it answers", || Ok(place.stage.ask_for(env)? == *env))?;
            let forwards = place.stage.forwards()?;
            let forward = forwards.get(index).context("no forward")?;
            ensure!(forward["env"]["env"] == *env, "{forward}");
            let own_port = forward["stable"].as_u64().context("no port of its own")?;
            place.own_ports.push(u16::try_from(own_port)?);
        }
        Ok(place)
    }

    /// Starts another process that forwards all envs, or gets a lease.
    pub fn add_session(&mut self) -> Result<()> {
        let session = self.stage.proxy(&["*"])?;
        self.sessions.push(session);
        Ok(())
    }

    /// Index of the process that forwards, by the peer of its control socket.
    fn forwarder(&self) -> Result<usize> {
        let socket = self.stage.workspace.home().join("run/control.sock");
        let pid = socket_peercred(UnixStream::connect(socket)?)?.pid;
        let pid = u32::try_from(pid.as_raw_nonzero().get())?;
        let mut sessions = self.sessions.iter();
        let index = sessions.position(|session| session.child.id() == pid);
        index.context("a foreign process forwards")
    }

    pub fn kill_forwarder(&mut self) -> Result<()> {
        let index = self.forwarder()?;
        self.sessions.remove(index).kill()
    }

    /// Ends the forwarder like Ctrl+C.
    pub fn end_forwarder(&mut self) -> Result<()> {
        let index = self.forwarder()?;
        let mut forwarder = self.sessions.remove(index);
        forwarder.signal("-INT")?;
        until("the forwarder has ended", || {
            Ok(forwarder.child.try_wait()?.is_some())
        })
    }

    /// Starts all envs, and waits until they answer.
    pub fn start_all(&self) -> Result<()> {
        for (env, own) in ENVS.iter().zip(&self.own_ports) {
            self.stage.workspace.ok(&["up", env])?;
            until(&format!("{env} answers"), || {
                Ok(self.stage.ask_for(env)? == *env && ask(*own, "localhost")? == *env)
            })?;
        }
        Ok(())
    }

    /// Waits until no connection is open.
    pub fn wait_until_idle(&self) -> Result<()> {
        until("no connection is open", || {
            let forwards = self.stage.forwards()?;
            let open = |forward: &serde_json::Value| forward["traffic"]["open"].as_u64();
            ensure!(forwards.len() == ENVS.len(), "{forwards:?}");
            Ok(forwards.iter().all(|forward| open(forward) == Some(0)))
        })
    }

    /// Whether an env is the default target.
    pub fn has_focus(&self, env: &str) -> Result<bool> {
        let forwards = self.stage.forwards()?;
        let of_env = |forward: &&serde_json::Value| forward["env"]["env"] == env;
        let forward = forwards.iter().find(of_env);
        Ok(forward.is_some_and(|forward| forward["focused"] == true))
    }

    pub fn health(&self) -> Result<Health> {
        let forwarder = &self.sessions[self.forwarder()?];
        let pid = forwarder.child.id();
        let all: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))?
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        let is_socket =
            |target: &&std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let pss = pss.and_then(|line| line.split_whitespace().next());
        Ok(Health {
            descriptors: all.len(),
            sockets: all.iter().filter(is_socket).count(),
            memory: pss.context("no PSS")?.parse::<f64>()? / 1024.0,
        })
    }
}

fn install(stage: &Stage, env: &str) -> Result<()> {
    let port = stage.port.to_string();
    let words = [
        "exec", "-u", "root", env, "--", "sh", "-c", SET_UP, "sh", env, &port,
    ];
    let mut child = stage
        .workspace
        .command(&words)?
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(SERVICE.as_bytes())?;
    drop(input);
    let ran = child.wait_with_output()?;
    ensure!(ran.status.success(), "{env}: {ran:?}");
    Ok(())
}
