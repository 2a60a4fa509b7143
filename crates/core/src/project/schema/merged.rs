//! Effective values of an env: its own, else those of `defaults`, else built-in ones. Text is
//! validated and converted to types here.

use super::{Entry, File, MountEntry, UserEntry};
use crate::backend::Nesting;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    ByteSize, EnvName, GuestPort, ImageName, Limits, ListenScope, UserName, VariableName,
};
use crate::provision::{Password, User};
use crate::proxy::is_foreign_host;

/// Documented default ports.
pub(super) const DEFAULT_PORTS: [u16; 3] = [5173, 8000, 5432];
const DEFAULT_PASSWORD: &str = "dev";

pub(in crate::project) fn default_ports() -> Vec<GuestPort> {
    DEFAULT_PORTS
        .iter()
        .filter_map(|port| GuestPort::new(*port))
        .collect()
}

impl File {
    /// An env's own field, else the defaults'.
    fn merged<T: ?Sized>(&self, env: &EnvName, get: fn(&Entry) -> Option<&T>) -> Option<&T> {
        self.entry(env)
            .and_then(get)
            .or_else(|| get(&self.defaults))
    }

    /// An env's image in the file.
    #[must_use]
    pub fn image(&self, env: &EnvName) -> Option<ImageName> {
        self.entry(env)?;
        let text = self.merged(env, |entry| entry.image.as_deref())?;
        ImageName::parse(text).ok()
    }

    /// An env's ports: its own, the defaults', or the built-in ones.
    ///
    /// # Errors
    /// `Config` for port 0 and duplicates.
    pub fn ports(&self, env: &EnvName) -> Result<Vec<GuestPort>> {
        let numbers = self.merged(env, |entry| entry.ports.as_deref());
        let mut ports = Vec::new();
        for number in numbers.unwrap_or(DEFAULT_PORTS.as_slice()) {
            let port = GuestPort::new(*number).filter(|port| !ports.contains(port));
            ports.push(port.ok_or_else(|| {
                let message = format!("invalid port {number} of `{env}`: it is 0 or a duplicate");
                Error::new(ErrorKind::Config, message)
            })?);
        }
        Ok(ports)
    }

    /// The user of an env.
    ///
    /// # Errors
    /// `InvalidName` or `Config` for an invalid name or password.
    pub fn user(&self, env: &EnvName) -> Result<User> {
        let own = self.entry(env).map(|entry| &entry.user);
        let field = |get: fn(&UserEntry) -> Option<&String>| {
            own.and_then(get).or_else(|| get(&self.defaults.user))
        };
        let name = field(|user| user.name.as_ref());
        let password = field(|user| user.password.as_ref());
        let user = User {
            name: name.map_or(Ok(UserName::dev()), |name| UserName::parse(name))?,
            password: Password::parse(password.map_or(DEFAULT_PASSWORD, String::as_str))?,
            has_explicit_password: password.is_some(),
        };
        user.ensure_login_user()?;
        Ok(user)
    }

    /// The limits of an env.
    ///
    /// # Errors
    /// `InvalidName` for an invalid size, `Config` for 0 CPUs.
    pub fn limits(&self, env: &EnvName) -> Result<Limits> {
        let size = |get: fn(&Entry) -> Option<&str>| {
            let text = self.merged(env, get);
            text.map(ByteSize::parse).transpose()
        };
        let cpus = self.merged(env, |entry| entry.cpus.as_ref()).copied();
        if cpus == Some(0) {
            let message = format!("invalid `cpus: 0` of `{env}`: expected at least 1");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Limits {
            cpus,
            memory: size(|entry| entry.memory.as_deref())?,
            disk: size(|entry| entry.disk.as_deref())?,
        })
    }

    /// Whether containers may run in an env.
    ///
    /// # Errors
    /// `Config` for an unknown value.
    pub fn nesting(&self, env: &EnvName) -> Result<Nesting> {
        match self.merged(env, |entry| entry.nesting.as_deref()) {
            None | Some("true") => Ok(Nesting::On),
            Some("false") => Ok(Nesting::Off),
            Some("docker") => Ok(Nesting::Docker),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "invalid `nesting: {other}` of `{env}`: expected `true`, `false` or `docker`"
                ),
            )),
        }
    }

    /// Whether an env starts with the engine.
    #[must_use]
    pub fn autostart(&self, env: &EnvName) -> bool {
        self.merged(env, |entry| entry.autostart.as_ref()) == Some(&true)
    }

    /// Whether a connection to a port starts the env.
    #[must_use]
    pub fn wake(&self, env: &EnvName) -> bool {
        self.merged(env, |entry| entry.wake.as_ref()) == Some(&true)
    }

    /// The ports that the engine forwards by itself: all or none.
    ///
    /// # Errors
    /// `Config` for an unknown value, or a port of two envs with native forwarding: the engine
    /// would let the second fail silently.
    pub fn native_ports(&self, env: &EnvName) -> Result<Vec<GuestPort>> {
        if !self.is_native(env)? {
            return Ok(Vec::new());
        }
        let ports = self.ports(env)?;
        for other in self.env_names() {
            if other == *env || !self.is_native(&other)? {
                continue;
            }
            let other_ports = self.ports(&other)?;
            if let Some(port) = ports.iter().find(|port| other_ports.contains(port)) {
                let message =
                    format!("`{env}` and `{other}` both have `forwarding: native` and port {port}");
                return Err(Error::new(ErrorKind::Config, message).with_hint(
                    "use different ports, or set `forwarding: ours` for one: it shares ports by name",
                ));
            }
        }
        Ok(ports)
    }

    fn is_native(&self, env: &EnvName) -> Result<bool> {
        match self.merged(env, |entry| entry.forwarding.as_deref()) {
            None | Some("ours") => Ok(false),
            Some("native") => Ok(true),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!("invalid `forwarding: {other}` of `{env}`: expected `ours` or `native`"),
            )),
        }
    }

    /// Whether x86-64 programs run in an env on Apple silicon.
    #[must_use]
    pub fn rosetta(&self, env: &EnvName) -> bool {
        self.merged(env, |entry| entry.rosetta.as_ref()) == Some(&true)
    }

    /// The listen scope of an env's port.
    ///
    /// # Errors
    /// `Config` for an invalid scope.
    pub fn reach(&self, env: &EnvName, port: GuestPort) -> Result<ListenScope> {
        let mut found = ListenScope::Loopback;
        let scopes = self.merged(env, |entry| entry.listen.as_ref());
        // Validates the scopes of all ports.
        for (number, text) in scopes.into_iter().flatten() {
            let failed =
                |error: Error| error.context(format!("`listen:` of `{env}`, port {number}"));
            let scope = text.parse().map_err(failed)?;
            let scope_port = GuestPort::new(*number).ok_or_else(|| {
                let message = format!("invalid port `0` in `listen:` of `{env}`: expected 1–65535");
                Error::new(ErrorKind::Config, message)
            })?;
            if scope_port == port {
                found = scope;
            }
        }
        Ok(found)
    }

    /// Host variables that are passed to commands, without duplicates.
    ///
    /// # Errors
    /// `InvalidName` for an invalid name.
    pub fn host_variables(&self, env: &EnvName) -> Result<Vec<VariableName>> {
        let mut names = Vec::new();
        for text in self
            .merged(env, |entry| entry.env.as_deref())
            .unwrap_or(&[])
        {
            let name = VariableName::parse(text)
                .map_err(|error| error.with_hint(format!("correct `env:` of `{env}`")))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Other host names that an env's forwards answer to.
    ///
    /// # Errors
    /// `Config` for an invalid name, and for one that needs no entry.
    pub fn hosts(&self, env: &EnvName) -> Result<Vec<String>> {
        let hosts = self.merged(env, |entry| entry.hosts.as_deref());
        let hosts = hosts.unwrap_or(&[]);
        match hosts.iter().find(|host| !is_foreign_host(host)) {
            None => Ok(hosts.to_vec()),
            Some(host) => Err(Error::new(
                ErrorKind::Config,
                format!("invalid host `{host}` of `{env}`"),
            )
            .with_hint("use a name in lower case, such as `shop.test`; `*.localhost` and addresses need no entry")),
        }
    }

    /// `setup:` as written.
    pub(in crate::project) fn setup_text(&self, env: &EnvName) -> Option<&str> {
        let text = self.merged(env, |entry| entry.setup.as_deref());
        text.filter(|text| !text.trim().is_empty())
    }

    /// Whether an env may change the hooks and settings of git in its mounts.
    ///
    /// # Errors
    /// `Config` for an unknown value.
    pub fn is_git_writable(&self, env: &EnvName) -> Result<bool> {
        match self.merged(env, |entry| entry.git.as_deref()) {
            None | Some("protected") => Ok(false),
            Some("writable") => Ok(true),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!("invalid `git: {other}` of `{env}`: expected `protected` or `writable`"),
            )),
        }
    }

    /// Whether some env can write a directory of the host.
    pub(in crate::project) fn has_writable_mount(&self) -> bool {
        let is_writable = |env: &EnvName| {
            let mut mounts = self.mount_entries(env).iter();
            mounts.any(|mount| !mount.readonly)
        };
        self.env_names().iter().any(is_writable)
    }

    /// `mounts:` as written.
    pub(in crate::project) fn mount_entries(&self, env: &EnvName) -> &[MountEntry] {
        self.merged(env, |entry| entry.mounts.as_deref())
            .unwrap_or(&[])
    }
}
