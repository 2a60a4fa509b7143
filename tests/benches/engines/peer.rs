//! The engine's own client, `lxc` or `incus`, with an empty configuration.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lxc_dev_manager_tests::engines::TestEngine;
use serde_json::Value;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Peer {
    engine: TestEngine,
    home: tempfile::TempDir,
}

/// An instance of the peer, deleted when dropped.
pub struct Instance<'a> {
    peer: &'a Peer,
    pub name: String,
}

impl Peer {
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("ldmb-").tempdir()?;
        // Without a configuration it greets new users.
        std::fs::write(home.path().join("config.yml"), "default-remote: local\n")?;
        Ok(Self {
            engine: engine.clone(),
            home,
        })
    }

    pub fn program(&self) -> &'static str {
        match self.engine.label() {
            "lxd" => "lxc",
            other => other,
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let (directory, configuration) = match self.engine.label() {
            "lxd" => ("LXD_DIR", "LXD_CONF"),
            _ => ("INCUS_DIR", "INCUS_CONF"),
        };
        let socket = &self.engine.socket;
        let mut command = Command::new(self.program());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("LANG", "C.UTF-8")
            .env(directory, socket.parent().context("no directory")?)
            .env(configuration, self.home.path())
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command that has to succeed, and returns its output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?.output();
        let output = output.with_context(|| format!("cannot run {}", self.program()))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{} {arguments:?} failed: {stderr}", self.program());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Reserves a name for a new instance.
    pub fn new_instance(&self) -> Instance<'_> {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("b{}", &random[..8]);
        Instance { peer: self, name }
    }

    /// Waits until an instance has an IPv4 address, by the cheapest request.
    pub fn wait_for_address(&self, name: &str) -> Result<IpAddr> {
        let started = Instant::now();
        loop {
            if let Some(address) = address(&self.state(name)?) {
                return Ok(address);
            }
            if started.elapsed() > ADDRESS_TIMEOUT {
                bail!("{name} gets no address");
            }
            // The engine sends no event for DHCP.
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn state(&self, name: &str) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.engine.socket)?;
        // With HTTP 1.0 the answer ends with the connection.
        let request = format!("GET /1.0/instances/{name}/state HTTP/1.0\r\nHost: engine\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        Ok(serde_json::from_str(body)?)
    }
}

fn address(answer: &Value) -> Option<IpAddr> {
    let addresses = answer["metadata"]["network"]["eth0"]["addresses"].as_array()?;
    let mut global = addresses
        .iter()
        .filter(|address| address["family"] == "inet" && address["scope"] == "global");
    global.next()?["address"].as_str()?.parse().ok()
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.peer.ok(&["delete", "--force", &self.name]) {
            eprintln!("left behind: {error:?}");
        }
    }
}
