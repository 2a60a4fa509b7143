//! What an instance is: its files, its processes, its line in `list --json`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value, json};

use crate::check;
use crate::faults::Faults;
use crate::home::{Home, hostname};
use crate::yaml::{Yaml, bytes};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// lima.yaml can't be read.
    Unknown,
    Broken,
    Stopped,
    Running,
}

impl Status {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Broken => "Broken",
            Self::Stopped => "Stopped",
            Self::Running => "Running",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) status: Status,
    pub(crate) yaml: Option<Yaml>,
    pub(crate) ssh_port: u16,
    pub(crate) agent: u32,
    pub(crate) driver: u32,
    pub(crate) protected: bool,
    pub(crate) version: String,
    pub(crate) errors: Vec<String>,
}

/// Nothing where there is no lima.yaml.
pub(crate) fn inspect(home: &Home, name: &str, faults: &Faults) -> Result<Option<Instance>> {
    let dir = home.instance(name)?;
    let path = dir.join("lima.yaml");
    let mut instance = Instance::unknown(name, dir);
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let what = format!("main file `{}`", path.display());
    let yaml = Yaml::read(&path).and_then(|yaml| {
        check::warn_of_unknown_fields(&yaml, &what);
        check::params(&yaml)?;
        check::driver(&yaml, faults)
            .with_context(|| format!("failed to resolve vm for {}", path.display()))?;
        check::validate(&yaml, faults)?;
        Ok(yaml)
    });
    match yaml {
        Ok(yaml) => instance.look(yaml),
        Err(error) => instance.errors.push(format!("{error:#}")),
    }
    Ok(Some(instance))
}

/// The same, where it has to be there.
pub(crate) fn existing(home: &Home, name: &str, faults: &Faults) -> Result<Instance> {
    inspect(home, name, faults)?.ok_or_else(|| {
        let path = home.dir().join(name).join("lima.yaml");
        anyhow!("open {}: no such file or directory", path.display())
    })
}

impl Instance {
    /// A directory that may be one, such as an interrupted clone leaves.
    pub(crate) fn without_yaml(name: &str, dir: PathBuf, error: String) -> Self {
        Self {
            errors: vec![error],
            status: Status::Broken,
            ..Self::unknown(name, dir)
        }
    }

    fn unknown(name: &str, dir: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            dir,
            status: Status::Unknown,
            yaml: None,
            ssh_port: 0,
            agent: 0,
            driver: 0,
            protected: false,
            version: String::new(),
            errors: Vec::new(),
        }
    }

    fn look(&mut self, yaml: Yaml) {
        self.ssh_port = yaml.ssh.local_port;
        self.agent = read_pid(&self.dir.join("ha.pid"));
        self.driver = read_pid(&self.dir.join(format!("{}.pid", yaml.vm_type)));
        let mut answers = true;
        if self.agent != 0 {
            match ask_agent(&self.dir.join("ha.sock")) {
                Ok(port) => self.ssh_port = port,
                Err(error) => {
                    answers = false;
                    let socket = self.dir.join("ha.sock");
                    self.errors.push(format!(
                        "failed to connect to `{}`: {error:#}",
                        socket.display()
                    ));
                }
            }
        }
        if self.ssh_port == 0 {
            self.ssh_port = port_of(&self.dir.join("ssh.config")).unwrap_or(0);
        }
        self.protected = std::fs::symlink_metadata(self.dir.join("protected")).is_ok();
        self.version = std::fs::read_to_string(self.dir.join("lima-version"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        self.status = match (self.agent, self.driver) {
            (0, 0) => Status::Stopped,
            (0, _) => {
                self.errors.push(format!(
                    "{} driver is running but host agent is not",
                    yaml.vm_type
                ));
                Status::Broken
            }
            (_, 0) => {
                self.errors
                    .push("host agent is running but driver is not".into());
                Status::Broken
            }
            _ if answers => Status::Running,
            _ => Status::Broken,
        };
        self.yaml = Some(yaml);
    }

    pub(crate) fn yaml(&self) -> Result<&Yaml> {
        self.yaml
            .as_ref()
            .ok_or_else(|| anyhow!("instance `{}` has no configuration", self.name))
    }

    pub(crate) fn hostname(&self) -> String {
        hostname(&self.name)
    }

    /// Its line in `list --json`: what is zero or empty is left out, and so are empty objects.
    pub(crate) fn json(&self, home: &Home) -> Value {
        let mut map = Map::new();
        let yaml = self.yaml.as_ref();
        let text = |get: fn(&Yaml) -> &String| json!(yaml.map(get).cloned().unwrap_or_default());
        map.insert("name".into(), json!(self.name));
        map.insert("hostname".into(), json!(self.hostname()));
        map.insert("status".into(), json!(self.status.word()));
        map.insert("dir".into(), json!(self.dir));
        map.insert("vmType".into(), text(|yaml| &yaml.vm_type));
        map.insert("arch".into(), text(|yaml| &yaml.arch));
        map.insert("protected".into(), json!(self.protected));
        map.insert("limaVersion".into(), json!(self.version));
        map.insert("HostOS".into(), json!(std::env::consts::OS));
        map.insert("HostArch".into(), json!(std::env::consts::ARCH));
        map.insert("LimaHome".into(), json!(home.dir()));
        map.insert("IdentityFile".into(), json!(home.key()));
        let mut unless_empty = |key: &str, value: Value| {
            if !is_empty(&value) {
                map.insert(key.into(), value);
            }
        };
        unless_empty("sshLocalPort", json!(self.ssh_port));
        unless_empty("hostAgentPID", json!(self.agent));
        unless_empty("driverPID", json!(self.driver));
        unless_empty("errors", json!(self.errors));
        if let Some(yaml) = yaml {
            unless_empty("cpus", json!(yaml.cpus));
            unless_empty("memory", json!(bytes(&yaml.memory).unwrap_or(0)));
            unless_empty("disk", json!(bytes(&yaml.disk).unwrap_or(0)));
            unless_empty("message", json!(yaml.message));
            unless_empty("network", yaml.networks.clone());
            unless_empty("param", json!(yaml.param));
            unless_empty("sshConfigFile", json!(self.dir.join("ssh.config")));
            unless_empty("sshAddress", json!("127.0.0.1"));
            unless_empty("config", config(yaml));
        }
        Value::Object(map)
    }
}

/// `config`: what the file says, with the defaults that others read there.
fn config(yaml: &Yaml) -> Value {
    let mut value = serde_json::to_value(&yaml.value).unwrap_or_default();
    let Some(map) = value.as_object_mut() else {
        return Value::Null;
    };
    map.insert("vmType".into(), json!(yaml.vm_type));
    map.insert("arch".into(), json!(yaml.arch));
    map.insert("os".into(), json!(yaml.os));
    map.insert("cpus".into(), json!(yaml.cpus));
    map.insert("memory".into(), json!(yaml.memory));
    map.insert("disk".into(), json!(yaml.disk));
    map.insert("user".into(), json!(yaml.user));
    value
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) => false,
    }
}

/// A process that lives, else 0: the file of a dead one is removed.
pub(crate) fn read_pid(path: &Path) -> u32 {
    let Ok(text) = std::fs::read_to_string(path) else {
        return 0;
    };
    match text.trim().parse() {
        Ok(pid) if is_alive(pid) => pid,
        Ok(_) => {
            let _ = std::fs::remove_file(path);
            0
        }
        // It is being written at this moment.
        Err(_) => 0,
    }
}

/// A zombie is dead: whoever has started it just hasn't looked yet.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// `GET /v1/info`: the port of SSH.
fn ask_agent(socket: &Path) -> Result<u16> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream
        .write_all(b"GET /v1/info HTTP/1.1\r\nHost: lima-hostagent\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let info: Value = serde_json::from_str(body)?;
    Ok(u16::try_from(info["sshLocalPort"].as_u64().unwrap_or(0))?)
}

fn port_of(config: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(config).ok()?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Port "))
        .and_then(|port| port.parse().ok())
}
