//! The parts of the engines' JSON that we read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use super::idmap::{self, RAW_IDMAP};
use crate::backend::{self, InstanceSnapshot, Marks, Mount, Nesting, Settings};
use crate::error::Result;
use crate::model::{ByteSize, EnvStatus, Fingerprint, InstanceName, Limits, SnapshotName};

pub(super) const AUTOSTART: &str = "boot.autostart";
/// Our key: Docker was installed with nesting.
pub(super) const DOCKER: &str = "user.lxc-dev-manager.docker";
/// Prefix of mount devices; a hash follows.
pub(super) const MOUNT_PREFIX: &str = "ldm-mount-";
pub(super) const NESTING: &str = "security.nesting";

/// Prefix of our marks in an instance's config.
pub(super) const MARK_PREFIX: &str = "user.lxc-dev-manager.";

/// The frame of every response.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Path of the operation, if the type is `async`.
    #[serde(default)]
    pub(super) operation: String,
    #[serde(default)]
    pub(super) error_code: u16,
    #[serde(default)]
    pub(super) error: String,
    #[serde(default)]
    pub(super) metadata: serde_json::Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct Server {
    pub(super) api_extensions: Option<Vec<String>>,
    pub(super) environment: Environment,
}

#[derive(Debug, Deserialize)]
pub(super) struct Environment {
    pub(super) server_version: String,
    pub(super) storage: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) id: String,
    /// `task`, `websocket` or `token`.
    #[serde(default)]
    pub(super) class: String,
    pub(super) status_code: u16,
    #[serde(default)]
    pub(super) err: String,
    #[serde(default)]
    pub(super) may_cancel: bool,
    pub(super) metadata: Option<serde_json::Value>,
    /// Paths of affected objects, by kind.
    #[serde(default)]
    pub(super) resources: Option<BTreeMap<String, Option<Vec<String>>>>,
}

/// Keys and values of an instance, profile or device.
pub(super) type Config = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
pub(super) struct Profile {
    pub(super) devices: Option<BTreeMap<String, Config>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Instance {
    name: String,
    status: String,
    /// The kernel's name: `x86_64`.
    #[serde(default)]
    architecture: String,
    /// Last start; the year 1 if never.
    #[serde(default)]
    last_used_at: Option<Timestamp>,
    /// `null`, like the two below, while the instance is created or deleted.
    config: Option<Config>,
    expanded_config: Option<Config>,
    expanded_devices: Option<BTreeMap<String, Config>>,
    /// `null` if the instance is stopped or starting.
    state: Option<State>,
    snapshots: Option<Vec<Snapshot>>,
    /// Cluster member; `none` or empty without a cluster.
    #[serde(default)]
    location: Option<String>,
}

/// A DHCP lease of a bridge.
#[derive(Debug, Deserialize)]
pub(super) struct Lease {
    pub(super) hwaddr: String,
    pub(super) address: IpAddr,
}

pub(super) struct Nic<'a> {
    pub(super) network: &'a str,
    pub(super) hardware_address: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    network: Option<BTreeMap<String, Network>>,
    cpu: Option<Cpu>,
    memory: Option<Usage>,
    disk: Option<BTreeMap<String, Usage>>,
    #[serde(default)]
    processes: i64,
}

#[derive(Debug, Deserialize)]
struct Cpu {
    #[serde(default)]
    usage: i64,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    usage: i64,
}

#[derive(Debug, Deserialize)]
struct Network {
    addresses: Option<Vec<Address>>,
}

#[derive(Debug, Deserialize)]
struct Address {
    address: IpAddr,
    scope: String,
}

#[derive(Debug, Deserialize)]
struct Snapshot {
    name: String,
    created_at: Timestamp,
}

impl Instance {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_running(&self) -> bool {
        status(&self.status) == EnvStatus::Running
    }

    pub(super) fn set_state(&mut self, state: Option<State>) {
        self.state = state;
    }

    /// Network interfaces in the order of names. The engine generates missing hardware addresses
    /// into the instance's config (`volatile.eth0.hwaddr`).
    pub(super) fn nics(&self) -> impl Iterator<Item = Nic<'_>> {
        let devices = self.expanded_devices.iter().flatten();
        devices.filter_map(|(name, device)| {
            let network = device.get("network").or_else(|| device.get("parent"))?;
            let key = format!("volatile.{name}.hwaddr");
            let generated = self.config.as_ref().and_then(|config| config.get(&key));
            Some(Nic {
                network,
                hardware_address: device.get("hwaddr").or(generated)?,
            })
        })
    }

    pub(super) fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Hardware addresses that the engine has configured or generated. Those in the guest are its own to choose.
    pub(super) fn hardware_addresses(&self) -> BTreeSet<String> {
        let devices = self.expanded_devices.iter().flatten();
        let configured = devices.filter_map(|(_, device)| device.get("hwaddr"));
        let config = self.config.iter().flatten();
        let generated = config
            .filter(|(key, _)| key.starts_with("volatile.") && key.ends_with(".hwaddr"))
            .map(|(_, value)| value);
        let all = configured.chain(generated);
        all.map(|address| address.to_lowercase()).collect()
    }

    /// Converts to the backend's type.
    pub(super) fn into_instance(self) -> Result<backend::Instance> {
        Ok(backend::Instance {
            name: InstanceName::parse(&self.name)?,
            status: status(&self.status),
            started_at: self.last_used_at,
            address: self.address(),
            marks: self.config.as_ref().map(marks).unwrap_or_default(),
            base_image: self.base_image(),
            location: self
                .location
                .clone()
                .filter(|name| !matches!(name.as_str(), "" | "none")),
            settings: self.settings(),
            snapshots: self.snapshots.map(snapshots).unwrap_or_default(),
            is_foreign: false,
        })
    }

    /// Prefers IPv4, and the instance's own interfaces over the guest's (a bridge of Docker, for
    /// example).
    fn address(&self) -> Option<IpAddr> {
        let networks = self.state.as_ref()?.network.as_ref()?;
        let is_nic = |name: &str| {
            let devices = self.expanded_devices.as_ref();
            devices
                .and_then(|all| all.get(name))
                .is_some_and(|d| d.get("type").is_some_and(|kind| kind == "nic"))
        };
        let mut global: Vec<(bool, bool, IpAddr)> = networks
            .iter()
            .flat_map(|(name, net)| net.addresses.iter().flatten().map(move |a| (name, a)))
            .filter(|(_, address)| address.scope == "global" && is_guest_address(address.address))
            .map(|(name, address)| (!is_nic(name), address.address.is_ipv6(), address.address))
            .collect();
        global.sort();
        global.first().map(|(_, _, address)| *address)
    }

    fn base_image(&self) -> Option<Fingerprint> {
        let text = self.config.as_ref()?.get("volatile.base_image")?;
        Fingerprint::parse(text).ok()
    }

    fn settings(&self) -> Settings {
        let config = |key: &str| self.expanded_config.as_ref()?.get(key);
        let is_set = |key: &str| config(key).is_some_and(|value| value == "true");
        let nesting = match is_set(NESTING) {
            true if is_set(DOCKER) => Nesting::Docker,
            true => Nesting::On,
            false => Nesting::Off,
        };
        let devices = self.expanded_devices.iter().flatten();
        let mounts = devices.filter(|(name, _)| name.starts_with(MOUNT_PREFIX));
        let mut mounts: Vec<Mount> = mounts.filter_map(|(_, device)| mount(device)).collect();
        mounts.sort_by(|a, b| a.guest.cmp(&b.guest));
        Settings {
            limits: self.limits(),
            nesting,
            autostart: is_set(AUTOSTART),
            mounts,
            mount_owner: config(RAW_IDMAP).and_then(|text| idmap::parse(text)),
            ..Settings::default()
        }
    }

    fn limits(&self) -> Limits {
        let key = |name: &str| self.expanded_config.as_ref()?.get(name);
        let devices = self.expanded_devices.iter().flat_map(BTreeMap::values);
        let root = devices.into_iter().find(|device| is_root_disk(device));
        let size = |text: &String| ByteSize::parse(text).ok();
        Limits {
            cpus: key("limits.cpu").and_then(|text| text.parse().ok()),
            memory: key("limits.memory").and_then(size),
            disk: root.and_then(|device| device.get("size")).and_then(size),
        }
    }
}

/// Reads JSON as each type that an engine sends, and converts it. Returns how many types it was.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn read_json(text: &[u8]) -> usize {
    let instance = serde_json::from_slice::<Instance>(text).map(Instance::into_instance);
    let state = serde_json::from_slice::<State>(text).map(State::into_usage);
    let others = [
        serde_json::from_slice::<Envelope>(text).is_ok(),
        serde_json::from_slice::<Operation>(text).is_ok(),
        serde_json::from_slice::<Server>(text).is_ok(),
        serde_json::from_slice::<Profile>(text).is_ok(),
        instance.is_ok_and(|read| read.is_ok()),
        state.is_ok(),
    ];
    others.into_iter().filter(|is_read| *is_read).count()
}

/// Whether a connection to an address can end in a guest. A guest shows what it likes.
fn is_guest_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => {
            // `::ffff:127.0.0.1` and `::127.0.0.1` are IPv4 in other clothes.
            v6.to_ipv4().is_none() && !v6.is_multicast() && !v6.is_unicast_link_local()
        }
    }
}

fn mount(device: &Config) -> Option<Mount> {
    Some(Mount {
        host: device.get("source")?.into(),
        guest: device.get("path")?.into(),
        readonly: device.get("readonly").is_some_and(|value| value == "true"),
    })
}

impl State {
    /// Converts to the backend's type. Unknown values are 0 or -1.
    pub(super) fn into_usage(self) -> backend::Usage {
        let known = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
        let networks = self.network.unwrap_or_default().into_values();
        let addresses = networks.flat_map(|network| network.addresses.unwrap_or_default());
        let disk = self.disk.unwrap_or_default();
        backend::Usage {
            cpu_nanoseconds: self.cpu.and_then(|cpu| known(cpu.usage)),
            memory: self.memory.and_then(|memory| known(memory.usage)),
            disk: disk.into_values().next().and_then(|disk| known(disk.usage)),
            processes: known(self.processes),
            addresses: addresses
                .filter(|address| address.scope == "global")
                .map(|address| address.address)
                .collect(),
        }
    }
}

/// Parses the engines' `api.StatusCode`.
fn status(text: &str) -> EnvStatus {
    match text {
        "Running" | "Starting" | "Stopping" | "Freezing" => EnvStatus::Running,
        "Stopped" => EnvStatus::Stopped,
        "Frozen" => EnvStatus::Frozen,
        _ => EnvStatus::Error,
    }
}

fn snapshots(found: Vec<Snapshot>) -> Vec<InstanceSnapshot> {
    let mut snapshots: Vec<_> = found
        .into_iter()
        .filter_map(|snapshot| {
            // Some versions prefix the instance's name and a slash.
            let name = snapshot.name.rsplit('/').next().unwrap_or_default();
            let name = SnapshotName::parse(name).ok()?;
            Some(InstanceSnapshot {
                name,
                created_at: snapshot.created_at,
                is_broken: false,
            })
        })
        .collect();
    snapshots.sort_by_key(|snapshot| snapshot.created_at);
    snapshots
}

fn marks(config: &Config) -> Marks {
    let mark = |name: &str| {
        config
            .get(&format!("{MARK_PREFIX}{name}"))
            .filter(|text| !text.is_empty())
    };
    Marks {
        project: mark("project").and_then(|text| text.parse().ok()),
        env: mark("env").and_then(|text| text.parse().ok()),
        path: mark("path").map(Into::into),
        operation: mark("op").and_then(|text| text.parse().ok()),
    }
}

/// Marks as config keys; an empty value removes a key.
pub(super) fn mark_config(marks: &Marks) -> BTreeMap<String, String> {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let path = marks
        .path
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    BTreeMap::from([
        (
            format!("{MARK_PREFIX}project"),
            text(marks.project.as_ref().map(|name| name.as_str())),
        ),
        (
            format!("{MARK_PREFIX}env"),
            text(marks.env.as_ref().map(|name| name.as_str())),
        ),
        (format!("{MARK_PREFIX}path"), path.unwrap_or_default()),
        (
            format!("{MARK_PREFIX}op"),
            text(marks.operation.as_ref().map(|id| id.as_str())),
        ),
    ])
}

pub(super) fn is_root_disk(device: &Config) -> bool {
    device.get("path").is_some_and(|path| path == "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_starting_instance_without_state() {
        let text =
            r#"{"name":"t1","status":"Running","state":null,"snapshots":null,"config":null}"#;
        let instance: Instance = serde_json::from_str(text).unwrap();
        let instance = instance.into_instance().unwrap();
        assert_eq!(instance.address, None);
        assert!(instance.snapshots.is_empty());
    }

    #[test]
    fn prefers_the_instances_interface_to_a_bridge_in_the_guest() {
        let text = r#"{"name":"t1","status":"Running",
            "expanded_devices":{"eth0":{"type":"nic"}},
            "state":{"network":{
                "docker0":{"addresses":[{"address":"172.17.0.1","scope":"global"}]},
                "eth0":{"addresses":[{"address":"fd42::5","scope":"global"},
                                     {"address":"10.1.2.3","scope":"global"}]}}}}"#;
        let instance: Instance = serde_json::from_str(text).unwrap();
        let address = instance.into_instance().unwrap().address.unwrap();
        assert_eq!(address.to_string(), "10.1.2.3");
    }

    #[test]
    fn location_is_empty_without_a_cluster() {
        let parse = |location: &str| {
            let text = format!(r#"{{"name":"t1","status":"Running","location":"{location}"}}"#);
            let instance: Instance = serde_json::from_str(&text).unwrap();
            instance.into_instance().unwrap().location
        };
        assert_eq!(parse("none"), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse("node-2").as_deref(), Some("node-2"));
    }

    #[test]
    fn marks_round_trip() {
        let marks = Marks {
            project: Some("a-b".parse().unwrap()),
            env: Some("c".parse().unwrap()),
            path: Some("/home/u/a".into()),
            operation: None,
        };
        assert_eq!(super::marks(&mark_config(&marks)), marks);
    }

    #[test]
    fn address_that_leads_elsewhere_is_no_guest() {
        for (address, expected) in [
            ("10.1.2.3", true),
            ("fd42::1", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.1.2.3", false),
            ("::1", false),
            ("::", false),
            ("ff02::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(
                is_guest_address(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }
}
