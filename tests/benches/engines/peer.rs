//! The engine's own client, on the same engine, and what it has made.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lxc_dev_manager_tests::engines::TestEngine;
use serde_json::Value;

/// How often the peer asks whether its instance has an address.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long an instance may take until it has one.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(60);

/// `lxc` or `incus`. Its instances and images are deleted at its end.
pub struct Peer {
    engine: TestEngine,
    place: tempfile::TempDir,
    instances: RefCell<Vec<String>>,
    images: RefCell<Vec<String>>,
}

impl Peer {
    /// The client of an engine, with an empty configuration.
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("ldmb-").tempdir()?;
        // With a configuration there, it keeps its greeting to new users to itself.
        std::fs::write(place.path().join("config.yml"), "default-remote: local\n")?;
        Ok(Self {
            engine: engine.clone(),
            place,
            instances: RefCell::default(),
            images: RefCell::default(),
        })
    }

    /// Its name.
    pub fn program(&self) -> &'static str {
        match self.engine.label() {
            "lxd" => "lxc",
            other => other,
        }
    }

    /// A command line of it that isn't started yet; nothing of the user's own is in sight.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let (directory, configuration) = match self.engine.label() {
            "lxd" => ("LXD_DIR", "LXD_CONF"),
            _ => ("INCUS_DIR", "INCUS_CONF"),
        };
        let engine = self.engine.socket.parent().context("a socket of no one")?;
        let mut command = Command::new(self.program());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.place.path())
            .env("LANG", "C.UTF-8")
            .env(directory, engine)
            .env(configuration, self.place.path())
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command line that has to succeed, and returns its output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.command(arguments)?.output();
        let ran = ran.with_context(|| format!("{} can't be started", self.program()))?;
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            bail!("{} {arguments:?} failed: {said}", self.program());
        }
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Words that take a snapshot and that restore one: Incus has put them below `snapshot`.
    pub fn snapshot_words(&self) -> (&'static [&'static str], &'static [&'static str]) {
        match self.program() {
            "lxc" => (&["snapshot"], &["restore"]),
            _ => (&["snapshot", "create"], &["snapshot", "restore"]),
        }
    }

    /// A name for a new instance, which is deleted at the end at the latest.
    pub fn new_instance(&self) -> String {
        let name = fresh();
        self.instances.borrow_mut().push(name.clone());
        name
    }

    /// A name for a new image, which is deleted at the end.
    pub fn new_image(&self) -> String {
        let name = fresh();
        self.images.borrow_mut().push(name.clone());
        name
    }

    /// Deletes an instance now.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.ok(&["delete", "--force", name])?;
        self.instances.borrow_mut().retain(|other| other != name);
        Ok(())
    }

    /// Waits until an instance has an IPv4 address, in a tight loop of the one cheapest request.
    pub fn wait_for_address(&self, name: &str) -> Result<IpAddr> {
        let begun = Instant::now();
        loop {
            if let Some(address) = address(&self.state(name)?) {
                return Ok(address);
            }
            if begun.elapsed() > ADDRESS_TIMEOUT {
                bail!("{name} gets no address");
            }
            // DHCP gives no event; a wait of the peer's own that is as short as can be.
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// `GET /1.0/instances/NAME/state`, without a client in between.
    fn state(&self, name: &str) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.engine.socket)?;
        // HTTP 1.0: the answer ends where the connection ends.
        write!(
            stream,
            "GET /1.0/instances/{name}/state HTTP/1.0\r\nHost: engine\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        Ok(serde_json::from_str(body)?)
    }
}

fn fresh() -> String {
    format!("b{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

fn address(answer: &Value) -> Option<IpAddr> {
    let addresses = answer["metadata"]["network"]["eth0"]["addresses"].as_array()?;
    let mut global = addresses
        .iter()
        .filter(|address| address["family"] == "inet" && address["scope"] == "global");
    global.next()?["address"].as_str()?.parse().ok()
}

impl Drop for Peer {
    fn drop(&mut self) {
        let delete = |arguments: &[&str]| {
            if let Err(error) = self.ok(arguments) {
                eprintln!("left behind: {error:?}");
            }
        };
        // A name may be given before its instance is made: only what is there is deleted.
        let made = self.ok(&["list", "--format", "csv", "--columns", "n"]);
        let made = made.unwrap_or_default();
        for name in self.instances.borrow().iter() {
            if made.lines().any(|line| line == name) {
                delete(&["delete", "--force", name]);
            }
        }
        let made = self.ok(&["image", "list", "--format", "csv", "--columns", "l"]);
        let made = made.unwrap_or_default();
        for name in self.images.borrow().iter() {
            if made.lines().any(|line| line == name) {
                delete(&["image", "delete", name]);
            }
        }
    }
}
