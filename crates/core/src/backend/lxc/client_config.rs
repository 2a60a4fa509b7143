//! The configuration of the engines' own clients: the user's remotes and the default one. Never
//! written.
//!
//! Format and rules: `lxc/config` of LXD, `shared/cliconfig` of Incus. Without a file there is only
//! `local`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hyper::Uri;
use serde::Deserialize;

use super::locate::{EngineVariables, HostEnvironment};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EngineProject, RemoteName};

/// In the client's directory.
const FILE: &str = "config.yml";
/// Every client's remote for this machine's engine.
pub(super) const LOCAL: &str = "local";
const DEFAULT_PORT: u16 = 443;
/// State of LXD's snap; if it exists, the snap's client directory is preferred.
const SNAP_STATE: &str = "/var/snap/lxd/common/lxd";

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Raw {
    #[serde(default)]
    default_remote: Option<String>,
    #[serde(default)]
    remotes: Option<BTreeMap<String, RawRemote>>,
}

#[derive(Deserialize)]
struct RawRemote {
    addr: String,
    #[serde(default)]
    last_working_address: Option<String>,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    project: Option<String>,
    #[serde(default)]
    auth_type: Option<String>,
}

#[derive(Debug)]
pub(super) struct ClientConfig {
    pub(super) kind: EngineKind,
    /// Holds the client's certificate.
    pub(super) directory: Option<PathBuf>,
    pub(super) default_remote: String,
    remotes: BTreeMap<RemoteName, Remote>,
    /// From the environment; overrides those of the remotes.
    project: Option<String>,
}

#[derive(Debug)]
pub(super) struct Remote {
    address: String,
    pub(super) protocol: Protocol,
    /// Serves images only, without authentication.
    pub(super) public: bool,
    project: Option<String>,
    pub(super) auth: Option<String>,
    /// Its `servercerts` may have the remote's certificate.
    pub(super) directory: PathBuf,
    /// File and line, for messages.
    pub(super) origin: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocol {
    /// An engine's API, by the client's name for it.
    Engine(String),
    Simplestreams,
    /// `oci`, for example.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// `None` is the engine's default socket.
    Socket(Option<PathBuf>),
    /// `host` has no brackets.
    Https { host: String, port: u16 },
}

impl ClientConfig {
    /// Reads the client's current configuration.
    ///
    /// # Errors
    /// `Config` with file and line, `Io` for unreadable files.
    pub(super) fn load(kind: EngineKind, environment: &HostEnvironment) -> Result<Self> {
        let variables = environment.of(kind);
        let directory = directory(kind, environment);
        let global = global_directory(kind, variables);
        let mut remotes = BTreeMap::new();
        let mut default_remote = None;
        // The user's remotes hide the system's of the same name.
        for directory in directory.iter().chain([&global]) {
            let Some((raw, file)) = read(directory)? else {
                continue;
            };
            if Some(directory) != Some(&global) {
                default_remote = raw.default_remote;
            }
            for (name, remote) in raw.remotes.unwrap_or_default() {
                // Names that are invalid here cannot be requested either.
                let Ok(name) = RemoteName::parse(&name) else {
                    continue;
                };
                let remote = Remote::new(kind, remote, directory, &file);
                remotes.entry(name).or_insert(remote);
            }
        }
        Ok(Self {
            kind,
            directory,
            default_remote: variables
                .remote
                .clone()
                .or(default_remote)
                .unwrap_or_else(|| LOCAL.to_owned()),
            remotes,
            project: variables.project.clone(),
        })
    }

    /// The entry of a remote other than `local`.
    pub(super) fn remote(&self, name: &str) -> Option<&Remote> {
        let mut known = self.remotes.iter();
        known
            .find(|(known, _)| known.as_str() == name && name != LOCAL)
            .map(|(_, remote)| remote)
    }

    /// Names of remotes that are engines, `local` first.
    pub(super) fn engines(&self) -> Vec<RemoteName> {
        let engines = self.remotes.iter().filter(|(name, remote)| {
            name.as_str() != LOCAL && !remote.public && remote.protocol.is_engine()
        });
        let local = RemoteName::parse(LOCAL).ok().into_iter();
        local.chain(engines.map(|(name, _)| name.clone())).collect()
    }

    /// Names of remotes with images: all but `local`.
    pub(super) fn image_sources(&self) -> impl Iterator<Item = &RemoteName> {
        self.remotes.keys().filter(|name| name.as_str() != LOCAL)
    }

    /// The configured project at a remote.
    ///
    /// # Errors
    /// `InvalidName`.
    pub(super) fn project(&self, remote: &str) -> Result<Option<EngineProject>> {
        let entry = self
            .remotes
            .iter()
            .find(|(name, _)| name.as_str() == remote);
        let chosen = entry.and_then(|(_, remote)| remote.project.as_ref());
        let chosen = self.project.as_ref().or(chosen);
        chosen
            .filter(|text| !text.is_empty())
            .map(|text| EngineProject::parse(text))
            .transpose()
    }
}

impl Remote {
    fn new(kind: EngineKind, raw: RawRemote, directory: &Path, file: &ReadFile) -> Self {
        let protocol = match raw.protocol.as_deref() {
            None | Some("") => Protocol::Engine(own_protocol(kind).to_owned()),
            Some("simplestreams") => Protocol::Simplestreams,
            Some(text @ ("lxd" | "incus")) => Protocol::Engine(text.to_owned()),
            Some(text) => Protocol::Other(text.to_owned()),
        };
        // Incus' client accepts several addresses and records the last one that worked.
        let mut addresses = raw.addr.split(',').map(str::trim);
        let last_working = raw.last_working_address.as_deref();
        let address = addresses.clone().find(|one| Some(*one) == last_working);
        let address = address.or_else(|| addresses.next()).unwrap_or_default();
        Self {
            address: address.trim_end_matches('/').to_owned(),
            protocol,
            public: raw.public,
            project: raw.project,
            auth: raw.auth_type,
            directory: directory.to_path_buf(),
            origin: file.origin_of(&raw.addr),
        }
    }

    /// The address as a URL, without a trailing slash.
    pub(super) fn url(&self) -> &str {
        &self.address
    }

    /// The parsed address.
    ///
    /// # Errors
    /// `Config` for an unsupported one.
    pub(super) fn address(&self) -> Result<Address> {
        if let Some(path) = self.address.strip_prefix("unix:") {
            let path = format!("/{}", path.trim_start_matches('/'));
            let socket = (path != "/").then(|| PathBuf::from(path));
            return Ok(Address::Socket(socket));
        }
        let invalid = || {
            let message = format!(
                "{}: invalid address `{}`: expected `https://HOST:PORT` or `unix://PATH`",
                self.origin, self.address
            );
            Error::new(ErrorKind::Config, message)
        };
        let url: Uri = self.address.parse().map_err(|_| invalid())?;
        let host = url.host().filter(|host| !host.is_empty());
        match (url.scheme_str(), host) {
            (Some("https"), Some(host)) => Ok(Address::Https {
                host: host.trim_matches(['[', ']']).to_owned(),
                port: url.port_u16().unwrap_or(DEFAULT_PORT),
            }),
            _ => Err(invalid()),
        }
    }
}

impl Protocol {
    pub(super) fn is_engine(&self) -> bool {
        matches!(self, Self::Engine(_))
    }
}

/// A client's name for its own engine's protocol.
fn own_protocol(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Lxd => "lxd",
        _ => "incus",
    }
}

struct ReadFile {
    path: PathBuf,
    text: String,
}

impl ReadFile {
    /// Path and line of a value, for messages.
    fn origin_of(&self, value: &str) -> String {
        let path = self.path.display();
        match self.text.lines().position(|line| line.contains(value)) {
            Some(index) => format!("{path}, line {}", index + 1),
            None => path.to_string(),
        }
    }
}

fn read(directory: &Path) -> Result<Option<(Raw, ReadFile)>> {
    let path = directory.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
    };
    let blank = text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line == "---" || line.starts_with('#')
    });
    let raw: Raw = if blank {
        Raw::default()
    } else {
        serde_yaml::from_str(&text).map_err(|error| {
            // The parser's message has the line.
            Error::new(ErrorKind::Config, format!("cannot use {}", path.display()))
                .with_hint("it is the configuration of the engine's own client")
                .caused_by(error)
        })?
    };
    Ok(Some((raw, ReadFile { path, text })))
}

/// The client's directory. LXD's snap has its own; the first with a file wins.
fn directory(kind: EngineKind, environment: &HostEnvironment) -> Option<PathBuf> {
    if let Some(directory) = &environment.of(kind).conf {
        return Some(directory.clone());
    }
    let home = environment.home.as_ref()?;
    let mut candidates = match kind {
        EngineKind::Lxd => vec![
            home.join(".config/lxc"),
            home.join("snap/lxd/common/config"),
        ],
        _ => {
            let config_home = environment.config_home.iter();
            let config_home = config_home.map(|directory| directory.join("incus"));
            config_home.chain([home.join(".config/incus")]).collect()
        }
    };
    if kind == EngineKind::Lxd && Path::new(SNAP_STATE).is_dir() {
        candidates.reverse();
    }
    let existing = candidates
        .iter()
        .find(|directory| directory.join(FILE).exists());
    existing.or(candidates.first()).cloned()
}

fn global_directory(kind: EngineKind, variables: &EngineVariables) -> PathBuf {
    let default = match kind {
        EngineKind::Lxd => "/etc/lxd",
        _ => "/etc/incus",
    };
    variables
        .global_conf
        .clone()
        .unwrap_or_else(|| PathBuf::from(default))
}

#[cfg(test)]
mod tests;
