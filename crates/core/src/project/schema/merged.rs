//! What holds for one env: its own words, else those of `defaults`, else what the docs promise. Everything is
//! checked here, on its way from text to types.

use super::{Entry, File, MountEntry, UserEntry};
use crate::backend::Nesting;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    ByteSize, EnvName, GuestPort, ImageName, Limits, Reach, UserName, VariableName,
};
use crate::provision::{Password, User};

/// Ports of a project whose file names none, as the original's documentation promises.
pub(super) const DEFAULT_PORTS: [u16; 3] = [5173, 8000, 5432];
/// Password of a user whose file names none.
const DEFAULT_PASSWORD: &str = "dev";

/// The documented ports.
pub(in crate::project) fn default_ports() -> Vec<GuestPort> {
    DEFAULT_PORTS
        .iter()
        .filter_map(|port| GuestPort::new(*port))
        .collect()
}

impl File {
    /// A field of an env: its own, else the defaults'.
    fn merged<T: ?Sized>(&self, env: &EnvName, get: fn(&Entry) -> Option<&T>) -> Option<&T> {
        self.entry(env)
            .and_then(get)
            .or_else(|| get(&self.defaults))
    }

    /// The image that the file names for an env.
    #[must_use]
    pub fn image(&self, env: &EnvName) -> Option<ImageName> {
        self.entry(env)?;
        let text = self.merged(env, |entry| entry.image.as_deref())?;
        ImageName::parse(text).ok()
    }

    /// The ports of an env: its own, the defaults', or the documented three.
    ///
    /// # Errors
    /// `Config` for port 0 and for one that stands twice.
    pub fn ports(&self, env: &EnvName) -> Result<Vec<GuestPort>> {
        let numbers = self.merged(env, |entry| entry.ports.as_deref());
        let mut ports = Vec::new();
        for number in numbers.unwrap_or(DEFAULT_PORTS.as_slice()) {
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
        let user = User {
            name: name.map_or(Ok(UserName::dev()), |name| UserName::parse(name))?,
            password: Password::parse(password.map_or(DEFAULT_PASSWORD, String::as_str))?,
            password_named: password.is_some(),
        };
        user.expect_person()?;
        Ok(user)
    }

    /// The limits of an env.
    ///
    /// # Errors
    /// `InvalidName` for a size that is none, `Config` for no CPU at all.
    pub fn limits(&self, env: &EnvName) -> Result<Limits> {
        let size = |get: fn(&Entry) -> Option<&str>| {
            let text = self.merged(env, get);
            text.map(ByteSize::parse).transpose()
        };
        let cpus = self.merged(env, |entry| entry.cpus.as_ref()).copied();
        if cpus == Some(0) {
            let message = format!("`cpus: 0` of `{env}`: an env needs one at least");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Limits {
            cpus,
            memory: size(|entry| entry.memory.as_deref())?,
            disk: size(|entry| entry.disk.as_deref())?,
        })
    }

    /// Whether containers may run inside of an env.
    ///
    /// # Errors
    /// `Config` for a word that is none of the possible ones.
    pub fn nesting(&self, env: &EnvName) -> Result<Nesting> {
        match self.merged(env, |entry| entry.nesting.as_deref()) {
            None | Some("true") => Ok(Nesting::On),
            Some("false") => Ok(Nesting::Off),
            Some("docker") => Ok(Nesting::Docker),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!("`nesting: {other}` of `{env}` is none of true, false and docker"),
            )),
        }
    }

    /// Whether an env starts with the engine.
    #[must_use]
    pub fn autostart(&self, env: &EnvName) -> bool {
        self.merged(env, |entry| entry.autostart.as_ref()) == Some(&true)
    }

    /// Whether a connection to one of its ports starts an env.
    #[must_use]
    pub fn wake(&self, env: &EnvName) -> bool {
        self.merged(env, |entry| entry.wake.as_ref()) == Some(&true)
    }

    /// The ports of an env that its engine is to forward by itself: all of them, or none.
    ///
    /// # Errors
    /// `Config` for a word that is none of the possible ones, and for a port that another env of the file wants as well:
    /// an engine lets the second one fail without a word.
    pub fn native_ports(&self, env: &EnvName) -> Result<Vec<GuestPort>> {
        if !self.is_native(env)? {
            return Ok(Vec::new());
        }
        let ports = self.ports(env)?;
        for other in self.env_names() {
            if other == *env || !self.is_native(&other)? {
                continue;
            }
            let theirs = self.ports(&other)?;
            if let Some(port) = ports.iter().find(|port| theirs.contains(port)) {
                let message = format!(
                    "`{env}` and `{other}` both have `forwarding: native` and port {port}, of which this machine has one"
                );
                return Err(Error::new(ErrorKind::Config, message).with_hint(
                    "give them ports of their own, or leave one to us: `forwarding: ours` shares a port by name",
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
                format!("`forwarding: {other}` of `{env}` is neither `ours` nor `native`"),
            )),
        }
    }

    /// Whether programs of x86-64 run in an env on Apple silicon.
    #[must_use]
    pub fn rosetta(&self, env: &EnvName) -> bool {
        self.merged(env, |entry| entry.rosetta.as_ref()) == Some(&true)
    }

    /// From where a port of an env can be reached.
    ///
    /// # Errors
    /// `Config` for a word that is no place to listen.
    pub fn reach(&self, env: &EnvName, port: GuestPort) -> Result<Reach> {
        let mut found = Reach::Loopback;
        let places = self.merged(env, |entry| entry.listen.as_ref());
        // One that is written wrong is said, whichever port it is of.
        for (number, text) in places.into_iter().flatten() {
            let failed =
                |error: Error| error.context(format!("`listen:` of `{env}`, port {number}"));
            let place = text.parse().map_err(failed)?;
            let of = GuestPort::new(*number).ok_or_else(|| {
                let message = format!("`listen:` of `{env}`: 0 is no port");
                Error::new(ErrorKind::Config, message)
            })?;
            if of == port {
                found = place;
            }
        }
        Ok(found)
    }

    /// Names of the host's variables that are handed on to commands in an env, each once.
    ///
    /// # Errors
    /// `InvalidName` for a name that no variable can have.
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

    /// `setup:` as it stands in the file.
    pub(in crate::project) fn setup_text(&self, env: &EnvName) -> Option<&str> {
        let text = self.merged(env, |entry| entry.setup.as_deref());
        text.filter(|text| !text.trim().is_empty())
    }

    /// `mounts:` as they stand in the file.
    pub(in crate::project) fn mount_entries(&self, env: &EnvName) -> &[MountEntry] {
        self.merged(env, |entry| entry.mounts.as_deref())
            .unwrap_or(&[])
    }
}
