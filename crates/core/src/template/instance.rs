//! Settings of a machine: its template and the common settings.
//!
//! Only requested directories of the host are mounted; containerd is not installed (Docker is installed separately);
//! Lima forwards no ports by default, because those of several machines would conflict silently. Two rules disable
//! forwarding, so that Lima still reports the guest's listening ports.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::settings::{mapping, write};
use super::{Arch, Template};
use crate::backend::{Mount, Nesting};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ByteSize, GuestPort, HostPort, Limits, UserName};

/// CPUs, memory and disk in bytes, unless set by env or template.
const DEFAULTS: (u32, u64, u64) = (4, 4 << 30, 50 << 30);
const MIN_LIMA_VERSION: &str = "2.1.0";
/// Of the first ordinary user.
const UID: u32 = 1000;

/// Settings specific to one machine.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Resource limits.
    pub limits: Limits,
    /// Mounted directories of the host.
    pub mounts: Vec<Mount>,
    /// Its user, with sudo; `dev` in place of root.
    pub user: UserName,
    /// Containers inside; Docker is installed later.
    pub nesting: Nesting,
    /// A disk that replaces the template's images.
    pub image: Option<ImageFile>,
    /// The driver; `None` leaves it to the template or Lima.
    pub vm: Option<Vm>,
    /// Run x86-64 programs on Apple silicon.
    pub rosetta: bool,
    /// Ports forwarded by Lima.
    pub ports: Forwarding,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            mounts: Vec::new(),
            user: UserName::dev(),
            nesting: Nesting::default(),
            image: None,
            vm: None,
            rosetta: false,
            ports: Forwarding::Off,
        }
    }
}

/// A disk image on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Absolute path of the file.
    pub location: PathBuf,
    /// Its architecture.
    pub arch: Arch,
}

/// A driver of Lima.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vm {
    /// Apple's virtualization framework.
    Vz,
    Qemu,
}

/// Ports forwarded by Lima.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// None: we forward ports ourselves.
    #[default]
    Off,
    /// These, while the machine runs.
    Native(Vec<(GuestPort, HostPort)>),
}

/// Builds the `lima.yaml` of a machine; other settings of the template are kept.
///
/// # Errors
/// `Config` for an invalid template or one without images, and for a path that Lima would expand.
pub fn instance_yaml(template: &Template, spec: &MachineSpec) -> Result<String> {
    let failed = |error: Error| error.context(format!("invalid template `{}`", template.name));
    let mut all = mapping(&template.text).map_err(failed)?;
    fill(&mut all, spec).map_err(failed)?;
    write(&all)
}

fn fill(all: &mut Mapping, spec: &MachineSpec) -> Result<()> {
    set_default(all, "minimumLimaVersion", MIN_LIMA_VERSION.into());
    match &spec.image {
        Some(image) => drop(all.insert("images".into(), Value::from(vec![local(image)?]))),
        // A `base` may have images.
        None if !all.contains_key("images") && !all.contains_key("base") => {
            return Err(Error::new(ErrorKind::Config, "no image is set in `images`"));
        }
        None => {}
    }
    set_limits(all, &spec.limits);
    let mut mounts = list(all, "mounts");
    // The template's mounts, then the env's.
    for mount in &spec.mounts {
        mounts.push(mount_value(mount)?);
    }
    all.insert("mounts".into(), mounts.into());
    all.insert("user".into(), user(all.get("user"), &spec.user));
    merge(
        all,
        "ssh",
        &[("localPort", 0.into()), ("loadDotSSHPubKeys", false.into())],
    );
    merge(
        all,
        "containerd",
        &[("system", false.into()), ("user", false.into())],
    );
    set_ports(all, &Forwarding::Off, &spec.ports);
    match spec.vm {
        Some(Vm::Vz) => {
            set_default(all, "vmType", "vz".into());
            // Other drivers don't support vzNAT.
            if all.get("vmType").and_then(Value::as_str) == Some("vz") {
                let network = pairs(&[("vzNAT", true.into())]);
                set_default(all, "networks", Value::from(vec![network]));
            }
        }
        Some(Vm::Qemu) => set_default(all, "vmType", "qemu".into()),
        None => {}
    }
    if spec.rosetta {
        set_rosetta(all, true);
    }
    Ok(())
}

/// Enables or disables Rosetta, keeping other options of the driver.
pub(super) fn set_rosetta(all: &mut Mapping, on: bool) {
    let inner = |map: Option<&Value>| map.and_then(Value::as_mapping).cloned().unwrap_or_default();
    let mut options = inner(all.get("vmOpts"));
    let mut vz = inner(options.get("vz"));
    vz.insert(
        "rosetta".into(),
        pairs(&[("enabled", on.into()), ("binfmt", on.into())]),
    );
    options.insert("vz".into(), vz.into());
    all.insert("vmOpts".into(), options.into());
}

/// Sets limits: the env's, else the template's, else the defaults.
fn set_limits(all: &mut Mapping, limits: &Limits) {
    let (cpus, memory, disk) = DEFAULTS;
    let size = |bytes: u64| Value::from(ByteSize(bytes).to_string());
    set_default(all, "cpus", cpus.into());
    set_default(all, "memory", size(memory));
    set_default(all, "disk", size(disk));
    let requested = [
        ("cpus", limits.cpus.map(Value::from)),
        ("memory", limits.memory.map(|bytes| size(bytes.0))),
        ("disk", limits.disk.map(|bytes| size(bytes.0))),
    ];
    for (key, value) in requested {
        if let Some(value) = value {
            all.insert(key.into(), value);
        }
    }
}

/// Replaces the forwarded ports.
pub(super) fn set_ports(all: &mut Mapping, before: &Forwarding, now: &Forwarding) {
    let (before, mut rules) = (before.rules(), now.rules());
    // The first matching rule applies: the env's, the template's, then those that disable the rest.
    let own = list(all, "portForwards").into_iter();
    let off = [(1, 1023), (1024, 65535)].map(off);
    rules.extend(own.filter(|rule| !off.contains(rule) && !before.contains(rule)));
    rules.extend(off.clone());
    all.insert("portForwards".into(), rules.into());
}

impl Forwarding {
    fn rules(&self) -> Vec<Value> {
        let Self::Native(ports) = self else {
            return Vec::new();
        };
        let rule = |(guest, host): &(GuestPort, HostPort)| {
            pairs(&[
                ("guestPort", guest.get().into()),
                ("hostPort", host.get().into()),
                ("hostIP", "127.0.0.1".into()),
            ])
        };
        ports.iter().map(rule).collect()
    }
}

/// A rule that disables forwarding of a range.
fn off((first, last): (u16, u16)) -> Value {
    pairs(&[
        ("guestIP", "0.0.0.0".into()),
        ("guestIPMustBeZero", false.into()),
        ("proto", "any".into()),
        ("guestPortRange", Value::from(vec![first, last])),
        ("ignore", true.into()),
    ])
}

fn user(own: Option<&Value>, wanted: &UserName) -> Value {
    let name = match wanted.as_str() {
        "root" => UserName::dev(),
        _ => wanted.clone(),
    };
    let mut user = own.and_then(Value::as_mapping).cloned().unwrap_or_default();
    user.insert("name".into(), name.as_str().into());
    user.insert("home".into(), format!("/home/{name}").into());
    set_default(&mut user, "uid", UID.into());
    user.into()
}

fn local(image: &ImageFile) -> Result<Value> {
    let location = ensure_literal(&image.location)?;
    Ok(pairs(&[
        ("location", location.into()),
        ("arch", image.arch.to_string().into()),
    ]))
}

pub(super) fn mount_value(mount: &Mount) -> Result<Value> {
    Ok(pairs(&[
        ("location", ensure_literal(&mount.host)?.into()),
        ("mountPoint", ensure_literal(&mount.guest)?.into()),
        ("writable", (!mount.readonly).into()),
    ]))
}

/// Rejects a path that Lima would expand: a leading `~`, or `{{…}}` anywhere.
pub(super) fn ensure_literal(path: &Path) -> Result<&str> {
    let text = path
        .to_str()
        .filter(|text| text.starts_with('/') && !text.contains("{{"));
    text.ok_or_else(|| {
        let message = format!("unsupported path {}", path.display());
        Error::new(ErrorKind::Config, message).with_hint("use an absolute UTF-8 path without `{{`")
    })
}

fn list(all: &Mapping, key: &str) -> Vec<Value> {
    let list = all.get(key).and_then(Value::as_sequence);
    list.cloned().unwrap_or_default()
}

fn set_default(all: &mut Mapping, key: &str, value: Value) {
    if all.get(key).is_none_or(Value::is_null) {
        all.insert(key.into(), value);
    }
}

/// Adds missing keys to a nested mapping.
fn merge(all: &mut Mapping, key: &str, values: &[(&str, Value)]) {
    let mut inner = all
        .get(key)
        .and_then(Value::as_mapping)
        .cloned()
        .unwrap_or_default();
    for (key, value) in values {
        set_default(&mut inner, key, value.clone());
    }
    all.insert(key.into(), inner.into());
}

fn pairs(values: &[(&str, Value)]) -> Value {
    let pairs = values
        .iter()
        .map(|(key, value)| (Value::from(*key), value.clone()));
    Value::Mapping(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Templates, read_settings};

    fn template(text: &str) -> Template {
        let mut template = Templates::built_in(&"debian-12".parse().unwrap()).unwrap();
        template.text = text.to_owned();
        template
    }

    fn built(text: &str, spec: &MachineSpec) -> Mapping {
        mapping(&instance_yaml(&template(text), spec).unwrap()).unwrap()
    }

    const IMAGES: &str = "images: [{location: 'https://x/y', arch: aarch64}]\n";

    #[test]
    fn default_machine_has_no_mounts_and_no_forwards() {
        let all = built(IMAGES, &MachineSpec::default());
        assert_eq!(all.get("mounts"), Some(&Value::Sequence(Vec::new())));
        let rules = list(&all, "portForwards");
        assert_eq!(rules.len(), 2);
        assert!(
            rules
                .iter()
                .all(|rule| rule.get("ignore") == Some(&true.into()))
        );
        let containerd = all.get("containerd").unwrap();
        assert_eq!(containerd.get("user"), Some(&false.into()));
        assert_eq!(all.get("cpus"), Some(&4.into()));
        assert_eq!(all.get("memory"), Some(&"4GiB".into()));
    }

    #[test]
    fn keeps_settings_of_template() {
        let text = format!(
            "{IMAGES}cpus: 2\nmemory: 1GiB\nprovision: [{{mode: system, script: 'true'}}]\n\
                            portForwards: [{{guestPort: 80, hostPort: 8080}}]\nunknown: kept\n"
        );
        let limits = Limits {
            memory: Some(ByteSize(2 << 30)),
            ..Limits::default()
        };
        let all = built(
            &text,
            &MachineSpec {
                limits,
                ..MachineSpec::default()
            },
        );
        assert_eq!(all.get("cpus"), Some(&2.into()));
        assert_eq!(all.get("memory"), Some(&"2GiB".into()));
        assert_eq!(all.get("unknown"), Some(&"kept".into()));
        let rules = list(&all, "portForwards");
        assert_eq!(rules[0].get("hostPort"), Some(&8080.into()));
        assert_eq!(rules.len(), 3);
        // The rules are not duplicated.
        let again = built(&write(&all).unwrap(), &MachineSpec::default());
        assert_eq!(list(&again, "portForwards").len(), 3);
    }

    #[test]
    fn values_are_never_interpreted() {
        let script = "#!/bin/sh\necho \"$HOME\" 'a' `b` $(c)\n";
        let text = format!(
            "{IMAGES}provision:\n- mode: system\n  script: {}\n",
            serde_json::to_string(script).unwrap()
        );
        let corpus = [
            "/a'; touch /tmp/x; '",
            "/$(id)`id`",
            "/a\"b\\c",
            "/a\nb: c\n- d",
            "/# x",
            "/: |",
            "/!!str x",
            "/&a *a",
            "/ä\u{7f}\u{1}",
            "/%s%n",
            "/a\tb",
            "/{a: b}",
            "/[x]",
            "/yes",
            "/0x10",
            "/~",
            "/ trailing ",
        ];
        let plain = built(&text, &MachineSpec::default());
        for odd in corpus {
            let mount = Mount {
                host: odd.into(),
                guest: format!("{odd}/in").into(),
                readonly: false,
            };
            let image = ImageFile {
                location: odd.into(),
                arch: Arch::Aarch64,
            };
            let spec = MachineSpec {
                mounts: vec![mount.clone()],
                image: Some(image),
                ..MachineSpec::default()
            };
            let yaml = instance_yaml(&template(&text), &spec).unwrap();
            assert_eq!(read_settings(&yaml).unwrap().mounts, [mount]);
            let mut all = mapping(&yaml).unwrap();
            assert_eq!(list(&all, "images")[0].get("location"), Some(&odd.into()));
            assert_eq!(
                list(&all, "provision")[0].get("script"),
                Some(&script.into())
            );
            for key in ["mounts", "images"] {
                all.insert(key.into(), plain.get(key).unwrap().clone());
            }
            assert_eq!(all, plain, "{odd:?}");
        }
        for bad in ["relative", "~/home", "/a{{.Param.x}}b"] {
            let mount = Mount {
                host: bad.into(),
                guest: "/x".into(),
                readonly: true,
            };
            let spec = MachineSpec {
                mounts: vec![mount],
                ..MachineSpec::default()
            };
            assert!(instance_yaml(&template(IMAGES), &spec).is_err(), "{bad}");
        }
    }

    #[test]
    fn vz_machine_has_driver_network_and_rosetta() {
        let spec = MachineSpec {
            vm: Some(Vm::Vz),
            rosetta: true,
            ..MachineSpec::default()
        };
        let yaml = instance_yaml(&template(IMAGES), &spec).unwrap();
        assert!(read_settings(&yaml).unwrap().has_own_address);
        let all = mapping(&yaml).unwrap();
        let rosetta = all
            .get("vmOpts")
            .unwrap()
            .get("vz")
            .unwrap()
            .get("rosetta")
            .unwrap();
        assert_eq!(rosetta.get("enabled"), Some(&true.into()));
    }

    #[test]
    fn native_forwards_precede_disabling_rules() {
        let ports = Forwarding::Native(vec![(
            GuestPort::new(80).unwrap(),
            HostPort::new(8080).unwrap(),
        )]);
        let all = built(
            IMAGES,
            &MachineSpec {
                ports,
                ..MachineSpec::default()
            },
        );
        let rules = list(&all, "portForwards");
        assert_eq!(rules[0].get("hostPort"), Some(&8080.into()));
        assert_eq!(rules[0].get("hostIP"), Some(&"127.0.0.1".into()));
        assert_eq!(rules.len(), 3);
    }
}
