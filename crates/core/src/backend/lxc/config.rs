//! The configuration of the engines' own clients: which remotes the user has, and which of them is
//! the default. Read, never written.
//!
//! Format and rules: `lxc/config` of LXD, `shared/cliconfig` of Incus. A file that isn't there says
//! nothing, and then there is only `local`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hyper::Uri;
use serde::Deserialize;

use super::locate::{Surroundings, Variables};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EngineProject, RemoteName};

/// Name of the file in the client's directory.
const FILE: &str = "config.yml";
/// The remote that every client has: the engine of this machine.
pub(super) const LOCAL: &str = "local";
/// Port of an address without one.
const HTTPS_PORT: u16 = 443;
/// Where the snap of LXD keeps its state; where that is, its client is used rather than another.
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

/// What one client is configured to.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) kind: EngineKind,
    /// Where the client keeps its own certificate.
    pub(super) directory: Option<PathBuf>,
    /// The remote that is meant where none is named.
    pub(super) default_remote: String,
    remotes: BTreeMap<RemoteName, Remote>,
    /// The project of the environment, over all others.
    project: Option<String>,
}

/// A remote as the client knows it.
#[derive(Debug)]
pub(super) struct Remote {
    address: String,
    pub(super) protocol: Protocol,
    /// It has images for everybody, and no instances.
    pub(super) public: bool,
    project: Option<String>,
    pub(super) auth: Option<String>,
    /// The directory whose `servercerts` may have its certificate.
    pub(super) directory: PathBuf,
    /// File and line, for messages.
    pub(super) origin: String,
}

/// What a remote speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The API of an engine, by the name that this client gives it.
    Engine(String),
    /// An image server's.
    Simplestreams,
    /// Anything else (`oci`, say).
    Other(String),
}

/// Where a remote is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// On this machine; `None` is the engine's usual socket.
    Socket(Option<PathBuf>),
    /// On any, with the host bare (no brackets).
    Https { host: String, port: u16 },
}

impl Config {
    /// Reads the client's configuration as it is now.
    ///
    /// # Errors
    /// `Config` with file and line, `Io` where a file is there and can't be read.
    pub(super) fn load(kind: EngineKind, surroundings: &Surroundings) -> Result<Self> {
        let variables = surroundings.of(kind);
        let directory = directory(kind, surroundings);
        let global = global_directory(kind, variables);
        let mut remotes = BTreeMap::new();
        let mut default_remote = None;
        // The user's own come first, and a name of theirs hides the system's.
        for directory in directory.iter().chain([&global]) {
            let Some((raw, file)) = read(directory)? else {
                continue;
            };
            if Some(directory) != Some(&global) {
                default_remote = raw.default_remote;
            }
            for (name, remote) in raw.remotes.unwrap_or_default() {
                // A name that can't be written here can't be asked for either.
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

    /// A remote of its own, `local` not being one.
    pub(super) fn remote(&self, name: &str) -> Option<&Remote> {
        let mut known = self.remotes.iter();
        known
            .find(|(known, _)| known.as_str() == name && name != LOCAL)
            .map(|(_, remote)| remote)
    }

    /// Those that are engines, `local` first.
    pub(super) fn engines(&self) -> Vec<RemoteName> {
        let engines = self.remotes.iter().filter(|(name, remote)| {
            name.as_str() != LOCAL && !remote.public && remote.protocol.is_engine()
        });
        let local = RemoteName::parse(LOCAL).ok().into_iter();
        local.chain(engines.map(|(name, _)| name.clone())).collect()
    }

    /// Those that have images: all but `local`.
    pub(super) fn image_sources(&self) -> impl Iterator<Item = &RemoteName> {
        self.remotes.keys().filter(|name| name.as_str() != LOCAL)
    }

    /// The project that is used at a remote, where the user has chosen one.
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
        // Incus' client takes several addresses, and notes the one that worked last.
        let mut several = raw.addr.split(',').map(str::trim);
        let worked = raw.last_working_address.as_deref();
        let address = several.clone().find(|one| Some(*one) == worked);
        let address = address.or_else(|| several.next()).unwrap_or_default();
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

    /// Its address as a URL, without a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.address
    }

    /// Its address in parts.
    ///
    /// # Errors
    /// `Config` for one that no client could use.
    pub(super) fn address(&self) -> Result<Address> {
        if let Some(path) = self.address.strip_prefix("unix:") {
            let path = format!("/{}", path.trim_start_matches('/'));
            let named = (path != "/").then(|| PathBuf::from(path));
            return Ok(Address::Socket(named));
        }
        let wrong = || {
            let message = format!(
                "{}: the address `{}` is neither `https://HOST:PORT` nor `unix://PATH`",
                self.origin, self.address
            );
            Error::new(ErrorKind::Config, message)
        };
        let url: Uri = self.address.parse().map_err(|_| wrong())?;
        let host = url.host().filter(|host| !host.is_empty());
        match (url.scheme_str(), host) {
            (Some("https"), Some(host)) => Ok(Address::Https {
                host: host.trim_matches(['[', ']']).to_owned(),
                port: url.port_u16().unwrap_or(HTTPS_PORT),
            }),
            _ => Err(wrong()),
        }
    }
}

impl Protocol {
    pub(super) fn is_engine(&self) -> bool {
        matches!(self, Self::Engine(_))
    }
}

/// The name that a client gives to its own engine's protocol.
fn own_protocol(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Lxd => "lxd",
        _ => "incus",
    }
}

/// A file that was read.
struct ReadFile {
    path: PathBuf,
    text: String,
}

impl ReadFile {
    /// Where in it a value stands, for messages.
    fn origin_of(&self, value: &str) -> String {
        let path = self.path.display();
        match self.text.lines().position(|line| line.contains(value)) {
            Some(before) => format!("{path}, line {}", before + 1),
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
            // The parser's own words have the line in them, where it knows one.
            Error::new(ErrorKind::Config, format!("cannot use {}", path.display()))
                .with_hint("it belongs to the engine's client, and is only read here")
                .caused_by(error)
        })?
    };
    Ok(Some((raw, ReadFile { path, text })))
}

/// The client's own directory. LXD's snap has another home; of two, the first with a file counts.
fn directory(kind: EngineKind, surroundings: &Surroundings) -> Option<PathBuf> {
    if let Some(said) = &surroundings.of(kind).conf {
        return Some(said.clone());
    }
    let home = surroundings.home.as_ref()?;
    let mut usual = match kind {
        EngineKind::Lxd => vec![
            home.join(".config/lxc"),
            home.join("snap/lxd/common/config"),
        ],
        _ => {
            let said = surroundings.config_home.iter();
            let said = said.map(|directory| directory.join("incus"));
            said.chain([home.join(".config/incus")]).collect()
        }
    };
    if kind == EngineKind::Lxd && Path::new(SNAP_STATE).is_dir() {
        usual.reverse();
    }
    let written = usual.iter().find(|directory| directory.join(FILE).exists());
    written.or(usual.first()).cloned()
}

fn global_directory(kind: EngineKind, variables: &Variables) -> PathBuf {
    let usual = match kind {
        EngineKind::Lxd => "/etc/lxd",
        _ => "/etc/incus",
    };
    variables
        .global_conf
        .clone()
        .unwrap_or_else(|| PathBuf::from(usual))
}

#[cfg(test)]
mod tests;
