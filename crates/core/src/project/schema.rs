//! What stands in `containers.yaml`.
//!
//! Text fields take the scalar's source text: `password: 1234` is the text `1234`. Unknown keys are
//! left alone. The file format is the original's, with additions that its docs mark as new.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

use super::snapshots::{self, SnapshotEntry};
use crate::backend::{Nesting, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    ByteSize, EnvName, GuestPort, ImageName, InstanceName, Limits, ProjectName, UserName,
};
use crate::provision::{Password, User};

/// Ports of a project whose file names none, as the original's documentation promises.
const DEFAULT_PORTS: [u16; 3] = [5173, 8000, 5432];
/// Password of a user whose file names none.
const DEFAULT_PASSWORD: &str = "dev";

/// A `containers.yaml`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct File {
    /// Prefix of the instances' names; none in a file without it.
    #[serde(default)]
    pub project: Option<String>,
    /// `auto`, `lxc` or `lima`.
    #[serde(default)]
    pub backend: Option<String>,
    /// What holds for every env that doesn't say otherwise.
    #[serde(default, deserialize_with = "null_is_default")]
    pub defaults: Entry,
    /// The envs, in the file's order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub containers: IndexMap<String, Entry>,
}

/// What stands below one env, or below `defaults`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Entry {
    /// Image that it is made from.
    #[serde(default)]
    pub image: Option<String>,
    /// Ports; an explicit empty list means none.
    #[serde(default)]
    pub ports: Option<Vec<u16>>,
    /// The user inside.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: UserEntry,
    /// Number of CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory, `4GiB`.
    #[serde(default)]
    pub memory: Option<String>,
    /// Size of the disk, `50GiB`.
    #[serde(default)]
    pub disk: Option<String>,
    /// `true`, `false` or `docker`.
    #[serde(default)]
    pub nesting: Option<String>,
    /// Snapshots, written by the tool: a map, or the list of an early version.
    #[serde(default, deserialize_with = "snapshots::either_form")]
    pub snapshots: IndexMap<String, SnapshotEntry>,
}

/// `user:` of an env.
#[derive(Clone, Default, Deserialize)]
pub struct UserEntry {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<String>,
}

impl std::fmt::Debug for UserEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "…");
        f.debug_struct("UserEntry")
            .field("name", &self.name)
            .field("password", &password)
            .finish()
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The documented ports.
pub(super) fn default_ports() -> Vec<GuestPort> {
    DEFAULT_PORTS
        .iter()
        .filter_map(|port| GuestPort::new(*port))
        .collect()
}

impl File {
    /// Reads a file's text. An empty file is an empty project.
    ///
    /// # Errors
    /// `Config` with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let blank = text
            .lines()
            .all(|line| line.trim().is_empty() || line.starts_with('#'));
        if blank {
            return Ok(Self::default());
        }
        let file: Self = serde_yaml::from_str(text).map_err(|error| {
            Error::new(ErrorKind::Config, error.to_string())
                .with_hint("correct containers.yaml; nothing was changed")
        })?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<()> {
        self.project_name()?;
        let mut folded: Vec<String> = Vec::new();
        for name in self.containers.keys() {
            EnvName::parse(name)?;
            let lower = name.to_lowercase();
            if folded.contains(&lower) {
                let message = format!(
                    "two envs are called `{name}` in upper or lower case: host names fold it"
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
            folded.push(lower);
        }
        Ok(())
    }

    /// The project's name, if it has one.
    ///
    /// # Errors
    /// `InvalidName`.
    pub fn project_name(&self) -> Result<Option<ProjectName>> {
        self.project.as_deref().map(ProjectName::parse).transpose()
    }

    /// The envs' names, in the file's order.
    #[must_use]
    pub fn env_names(&self) -> Vec<EnvName> {
        // `check` has parsed them.
        self.containers
            .keys()
            .filter_map(|name| EnvName::parse(name).ok())
            .collect()
    }

    /// What the file says of an env.
    #[must_use]
    pub fn entry(&self, env: &EnvName) -> Option<&Entry> {
        self.containers.get(env.as_str())
    }

    /// The instance of an env.
    ///
    /// # Errors
    /// `InvalidName`, naming the part that an engine refuses.
    pub fn instance(&self, env: &EnvName) -> Result<InstanceName> {
        InstanceName::of(self.project_name()?.as_ref(), env)
    }

    /// The ports of an env: its own, the defaults', or the documented three.
    ///
    /// # Errors
    /// `Config` for port 0 and for one that stands twice.
    pub fn ports(&self, env: &EnvName) -> Result<Vec<GuestPort>> {
        let own = self.entry(env).and_then(|entry| entry.ports.as_ref());
        let numbers = own.or(self.defaults.ports.as_ref());
        let numbers = numbers.map_or(DEFAULT_PORTS.as_slice(), Vec::as_slice);
        let mut ports = Vec::new();
        for number in numbers {
            let port = GuestPort::new(*number).filter(|port| !ports.contains(port));
            ports.push(port.ok_or_else(|| {
                let message = format!("port {number} of `{env}` is 0 or stands twice");
                Error::new(ErrorKind::Config, message)
            })?);
        }
        Ok(ports)
    }

    /// The user of an env.
    ///
    /// # Errors
    /// `InvalidName` or `Config` for a name or a password that no guest could take.
    pub fn user(&self, env: &EnvName) -> Result<User> {
        let own = self.entry(env).map(|entry| &entry.user);
        let field = |get: fn(&UserEntry) -> Option<&String>| {
            own.and_then(get).or_else(|| get(&self.defaults.user))
        };
        let name = field(|user| user.name.as_ref());
        let password = field(|user| user.password.as_ref());
        Ok(User {
            name: name.map_or(Ok(UserName::dev()), |name| UserName::parse(name))?,
            password: Password::parse(password.map_or(DEFAULT_PASSWORD, String::as_str))?,
            password_named: password.is_some(),
        })
    }

    /// The limits of an env.
    ///
    /// # Errors
    /// `InvalidName` for a size that is none.
    pub fn limits(&self, env: &EnvName) -> Result<Limits> {
        let own = self.entry(env);
        let size = |get: fn(&Entry) -> Option<&String>| {
            let text = own.and_then(get).or_else(|| get(&self.defaults));
            text.map(|text| ByteSize::parse(text)).transpose()
        };
        Ok(Limits {
            cpus: own.and_then(|entry| entry.cpus).or(self.defaults.cpus),
            memory: size(|entry| entry.memory.as_ref())?,
            disk: size(|entry| entry.disk.as_ref())?,
        })
    }

    /// What is set on the instance of an env.
    ///
    /// # Errors
    /// Those of its parts.
    pub fn settings(&self, env: &EnvName) -> Result<Settings> {
        Ok(Settings {
            limits: self.limits(env)?,
            nesting: self.nesting(env)?,
            autostart: false,
            mounts: Vec::new(),
        })
    }

    /// Whether containers may run inside of an env.
    ///
    /// # Errors
    /// `Config` for a word that is none of the possible ones, `Unsupported` for `docker`.
    pub fn nesting(&self, env: &EnvName) -> Result<Nesting> {
        let own = self.entry(env).and_then(|entry| entry.nesting.as_deref());
        match own.or(self.defaults.nesting.as_deref()) {
            None | Some("true") => Ok(Nesting::On),
            Some("false") => Ok(Nesting::Off),
            Some("docker") => Err(Error::new(
                ErrorKind::Unsupported,
                "`nesting: docker` isn't there yet: Docker has to be installed by hand",
            )
            .with_hint("write `nesting: true`")),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!("`nesting: {other}` of `{env}` is none of true, false and docker"),
            )),
        }
    }

    /// The image that the file names for an env.
    #[must_use]
    pub fn image(&self, env: &EnvName) -> Option<ImageName> {
        let text = self
            .entry(env)?
            .image
            .as_deref()
            .or(self.defaults.image.as_deref())?;
        ImageName::parse(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
project: webapp
defaults:
  ports: [5173]
  user: {name: dev, password: 1234}
  memory: "4GiB"
containers:
  zeta:
    image: ubuntu:24.04
    ports: []
    snapshots:
      initial-state: {description: Initial state, created_at: "2026-01-15T14:22:00Z"}
  on:
    image: 2024-01-15
    user: {name: admin}
    unknown: [1, 2]
    snapshots:
      - {name: old, description: 7, created: "2025-01-01T00:00:00Z"}
  empty:
"#;

    fn env(name: &str) -> EnvName {
        EnvName::parse(name).unwrap()
    }

    #[test]
    fn text_is_the_scalars_source_and_order_is_the_files() {
        let file = File::parse(FILE).unwrap();
        let names: Vec<String> = file.env_names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["zeta", "on", "empty"]);
        assert_eq!(file.image(&env("on")).unwrap().as_str(), "2024-01-15");
        assert_eq!(file.user(&env("on")).unwrap().name.as_str(), "admin");
        assert!(file.user(&env("on")).unwrap().password == Password::parse("1234").unwrap());
        assert_eq!(file.ports(&env("zeta")).unwrap(), []);
        assert_eq!(file.ports(&env("on")).unwrap().len(), 1);
        assert_eq!(
            file.limits(&env("on")).unwrap().memory,
            Some(ByteSize(4 << 30))
        );
    }

    #[test]
    fn both_forms_of_snapshots_are_read() {
        let file = File::parse(FILE).unwrap();
        let of = |name: &str| file.entry(&env(name)).unwrap().snapshots.clone();
        assert_eq!(
            of("zeta")["initial-state"].description.as_deref(),
            Some("Initial state")
        );
        assert_eq!(of("on")["old"].description.as_deref(), Some("7"));
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let file = File::parse("containers: {dev: {image: x}}").unwrap();
        let ports: Vec<u16> = file
            .ports(&env("dev"))
            .unwrap()
            .iter()
            .map(|p| p.get())
            .collect();
        assert_eq!(ports, DEFAULT_PORTS);
        let user = file.user(&env("dev")).unwrap();
        assert_eq!((user.name.as_str(), user.password_named), ("dev", false));
        assert_eq!(file.instance(&env("dev")).unwrap().as_str(), "dev");
    }

    #[test]
    fn errors_have_line_and_column() {
        let error = File::parse("project: a\ncontainers:\n  dev: [1\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("line"), "{error}");
    }

    #[test]
    fn names_that_differ_by_case_only_are_refused() {
        let error = File::parse("containers: {dev: {}, DEV: {}}").unwrap_err();
        assert!(error.to_string().contains("upper or lower case"), "{error}");
    }
}
