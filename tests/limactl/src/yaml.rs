//! lima.yaml: the fields that the stand-in acts on, with Lima's defaults.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

const GIB: u64 = 1 << 30;

/// `user:`, filled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) comment: String,
    pub(crate) uid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct UserFields {
    name: Option<String>,
    comment: Option<String>,
    uid: Option<u32>,
    home: Option<String>,
    shell: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Image {
    pub(crate) location: String,
    pub(crate) arch: String,
    pub(crate) digest: Option<String>,
}

/// A directory of the host in the guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount {
    pub(crate) location: String,
    pub(crate) mount_point: Option<String>,
    #[serde(default)]
    pub(crate) writable: bool,
}

impl Mount {
    /// On the host; `~` is the user's home.
    pub(crate) fn source(&self) -> PathBuf {
        match self.location.strip_prefix('~') {
            Some(rest) => {
                let home = std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from);
                home.join(rest.trim_start_matches('/'))
            }
            None => PathBuf::from(&self.location),
        }
    }

    /// In the guest.
    pub(crate) fn target(&self) -> PathBuf {
        match &self.mount_point {
            Some(point) => PathBuf::from(point),
            None => self.source(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Provision {
    pub(crate) mode: Option<String>,
    pub(crate) script: Option<String>,
    pub(crate) content: Option<String>,
    pub(crate) overwrite: Option<bool>,
    pub(crate) owner: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) permissions: Option<String>,
}

impl Provision {
    pub(crate) fn mode(&self) -> &str {
        self.mode.as_deref().unwrap_or("system")
    }
}

/// A rule of `portForwards`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rule {
    #[serde(rename = "guestIP")]
    guest_ip: Option<IpAddr>,
    #[serde(rename = "guestIPMustBeZero")]
    guest_ip_must_be_zero: Option<bool>,
    #[serde(rename = "hostIP")]
    host_ip: Option<IpAddr>,
    guest_port: u16,
    guest_port_range: Option<[u16; 2]>,
    host_port: u16,
    host_port_range: Option<[u16; 2]>,
    pub(crate) guest_socket: Option<String>,
    pub(crate) proto: Option<String>,
    pub(crate) ignore: bool,
}

impl Rule {
    /// Keeps every listener of a port from being forwarded.
    pub(crate) fn block(port: u16) -> Self {
        Self {
            guest_ip: Some(Ipv4Addr::UNSPECIFIED.into()),
            guest_ip_must_be_zero: Some(false),
            guest_port: port,
            ignore: true,
            ..Self::default()
        }
    }

    pub(crate) fn guest_ip(&self) -> IpAddr {
        match self.guest_ip {
            Some(ip) => ip,
            None if self.guest_ip_must_be_zero == Some(true) => Ipv4Addr::UNSPECIFIED.into(),
            None => Ipv4Addr::LOCALHOST.into(),
        }
    }

    pub(crate) fn must_be_zero(&self) -> bool {
        self.guest_ip_must_be_zero
            .unwrap_or_else(|| self.guest_ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED))
    }

    pub(crate) fn host_ip(&self) -> IpAddr {
        self.host_ip.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into())
    }

    pub(crate) fn guest_ports(&self) -> [u16; 2] {
        range(self.guest_port_range, self.guest_port).unwrap_or([1, 65535])
    }

    pub(crate) fn host_ports(&self) -> [u16; 2] {
        range(self.host_port_range, self.host_port).unwrap_or_else(|| self.guest_ports())
    }

    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.proto.as_deref(), None | Some("any" | "tcp"))
    }
}

fn range(range: Option<[u16; 2]>, port: u16) -> Option<[u16; 2]> {
    match range {
        Some(range) if range != [0, 0] => Some(range),
        _ => (port != 0).then_some([port, port]),
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Ssh {
    pub(crate) local_port: u16,
    #[serde(rename = "loadDotSSHPubKeys")]
    pub(crate) load_dot_ssh: bool,
    pub(crate) forward_agent: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fields {
    minimum_lima_version: Option<String>,
    vm_type: Option<String>,
    os: Option<String>,
    arch: Option<String>,
    images: Option<Vec<Image>>,
    cpus: Option<u32>,
    memory: Option<String>,
    disk: Option<String>,
    mounts: Option<Vec<Mount>>,
    ssh: Option<Ssh>,
    provision: Option<Vec<Provision>>,
    port_forwards: Option<Vec<Rule>>,
    message: Option<String>,
    networks: Option<serde_json::Value>,
    param: Option<BTreeMap<String, String>>,
    user: Option<UserFields>,
}

/// What a lima.yaml says, with the defaults for what it doesn't.
#[derive(Debug, Clone)]
pub(crate) struct Yaml {
    pub(crate) minimum_version: Option<String>,
    pub(crate) vm_type: String,
    pub(crate) os: String,
    pub(crate) arch: String,
    pub(crate) images: Vec<Image>,
    pub(crate) cpus: u32,
    pub(crate) memory: String,
    pub(crate) disk: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) ssh: Ssh,
    pub(crate) provision: Vec<Provision>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) message: String,
    pub(crate) networks: serde_json::Value,
    pub(crate) param: BTreeMap<String, String>,
    pub(crate) user: User,
    /// As it was written.
    pub(crate) value: serde_yaml::Value,
}

impl Yaml {
    /// Reads a text; `what` is named where it is no YAML or has wrong types.
    pub(crate) fn parse(text: &str, what: &str) -> Result<Self> {
        let failed = || format!("failed to unmarshal YAML ({what})");
        let value: serde_yaml::Value = serde_yaml::from_str(text).with_context(failed)?;
        let fields: Fields = match &value {
            serde_yaml::Value::Null => Fields::default(),
            value => serde_yaml::from_value(value.clone()).with_context(failed)?,
        };
        Ok(Self::fill(fields, value))
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("open {}", path.display()))?;
        Self::parse(&text, &format!("main file `{}`", path.display()))
    }

    fn fill(fields: Fields, value: serde_yaml::Value) -> Self {
        let os = fields.os.unwrap_or_else(|| "Linux".into());
        Self {
            minimum_version: fields.minimum_lima_version,
            vm_type: filled(fields.vm_type, "qemu"),
            os,
            arch: filled(fields.arch, std::env::consts::ARCH),
            images: fields.images.unwrap_or_default(),
            cpus: fields.cpus.unwrap_or(4),
            memory: fields.memory.unwrap_or_else(|| "4GiB".into()),
            disk: fields.disk.unwrap_or_else(|| "100GiB".into()),
            mounts: fields.mounts.unwrap_or_default(),
            ssh: fields.ssh.unwrap_or_default(),
            provision: fields.provision.unwrap_or_default(),
            rules: fields.port_forwards.unwrap_or_default(),
            message: fields.message.unwrap_or_default(),
            networks: fields.networks.unwrap_or_default(),
            param: fields.param.unwrap_or_default(),
            user: fields.user.unwrap_or_default().fill(),
            value,
        }
    }

    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        bytes(&self.disk)
    }
}

/// `default` is a word for what is left out.
fn filled(value: Option<String>, default: &str) -> String {
    match value {
        Some(value) if value != "default" => value,
        _ => default.to_owned(),
    }
}

impl UserFields {
    /// The host's user, as Lima takes it.
    fn fill(self) -> User {
        let name = self
            .name
            .or_else(|| std::env::var("USER").ok())
            .filter(|name| is_user_name(name))
            .unwrap_or_else(|| "lima".into());
        User {
            comment: self.comment.unwrap_or_default(),
            uid: self.uid.unwrap_or_else(own_uid),
            home: self.home.unwrap_or_else(|| format!("/home/{name}.guest")),
            shell: self.shell.unwrap_or_else(|| "/bin/bash".into()),
            name,
        }
    }
}

fn is_user_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(first)
        && name
            .chars()
            .all(|c| first(c) || c.is_ascii_digit() || c == '-')
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// `4GiB`, `512M`, `10`: powers of 1024, as Lima reads both.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let invalid = || anyhow!("invalid size: '{text}'");
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| invalid())?;
    let unit = text[end..].trim().to_ascii_lowercase();
    let letters = unit.trim_end_matches('b').trim_end_matches('i');
    let factor = match letters {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => GIB,
        "t" => GIB << 10,
        "p" => GIB << 20,
        _ => return Err(invalid()),
    };
    let size = number * factor as f64;
    if !size.is_finite() || size < 0.0 {
        return Err(invalid());
    }
    // Sizes of disks are far below where a float loses bytes.
    Ok(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(bytes("4GiB").unwrap(), 4 * GIB);
        assert_eq!(bytes("1.5g").unwrap(), GIB + GIB / 2);
        assert_eq!(bytes("512MB").unwrap(), 512 << 20);
        assert_eq!(bytes("10").unwrap(), 10);
        assert!(bytes("many").is_err());
        assert!(bytes("4XiB").is_err());
    }

    #[test]
    fn what_is_left_out_has_limas_default() {
        let yaml = Yaml::parse("images: []\ncpus: 2\n", "test").unwrap();
        assert_eq!(
            (yaml.cpus, yaml.memory.as_str(), yaml.disk.as_str()),
            (2, "4GiB", "100GiB")
        );
        assert_eq!(yaml.user.shell, "/bin/bash");
        assert!(Yaml::parse("cpus: many\n", "test").is_err());
        assert!(Yaml::parse("cpus: [\n", "test").is_err());
    }

    #[test]
    fn rules_of_ports_have_limas_defaults() {
        let yaml = Yaml::parse(
            "portForwards:\n- guestIP: 0.0.0.0\n  guestIPMustBeZero: false\n  proto: any\n  ignore: true\n- guestPort: 80\n  hostPort: 8080\n",
            "test",
        )
        .unwrap();
        assert_eq!(yaml.rules[0].guest_ports(), [1, 65535]);
        assert!(!yaml.rules[0].must_be_zero());
        assert_eq!(yaml.rules[1].guest_ports(), [80, 80]);
        assert_eq!(yaml.rules[1].host_ports(), [8080, 8080]);
        assert_eq!(yaml.rules[1].guest_ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
    }
}
