//! The settings of one machine: its template, and what every machine of ours has.
//!
//! No directory of the host is seen unless it was asked for; containerd isn't installed (Docker is, by our
//! own set-up, where it is asked for); Lima forwards no port by itself, for two machines that want the
//! same one collide without a word. The rules that turn that off are two, so that Lima still tells what
//! a guest listens on.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::seen::{mapping, write};
use super::{Arch, Template};
use crate::backend::{Mount, Nesting};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ByteSize, GuestPort, HostPort, Limits, UserName};

/// What a machine gets where neither env nor template say.
const DEFAULTS: (u32, u64, u64) = (4, 4 << 30, 50 << 30);
/// The oldest Lima that takes what we write.
const OLDEST: &str = "2.1.0";
/// The number of the first ordinary user.
const UID: u32 = 1000;

/// What is particular to one machine.
#[derive(Debug, Clone)]
pub struct Guest {
    /// How much it may use.
    pub limits: Limits,
    /// Directories of the host that it sees.
    pub mounts: Vec<Mount>,
    /// Its user, who may do everything by sudo. Root can't be one: it is `dev` then.
    pub user: UserName,
    /// Containers inside; Docker is installed later, by commands.
    pub nesting: Nesting,
    /// A disk to begin with in place of the template's images.
    pub image: Option<ImageFile>,
    /// The driver; `None` leaves it to the template, and to Lima.
    pub vm: Option<Vm>,
    /// Programs of x86-64 run in a guest of Apple silicon.
    pub rosetta: bool,
    /// Ports that Lima forwards.
    pub ports: Forwarding,
}

impl Default for Guest {
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

/// A disk image of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// The file, absolute.
    pub location: PathBuf,
    /// What it runs on.
    pub arch: Arch,
}

/// A driver of Lima's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vm {
    /// Apple's virtualization framework.
    Vz,
    /// QEMU.
    Qemu,
}

/// Which ports Lima forwards by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// None: we do.
    #[default]
    Off,
    /// These, as long as the machine runs.
    Native(Vec<(GuestPort, HostPort)>),
}

/// The `lima.yaml` of a machine. What the template says beyond that stays.
///
/// # Errors
/// `Config` for a template that can't be read or has no image, and for a path that Lima would read as
/// something else.
pub fn instance_yaml(template: &Template, guest: &Guest) -> Result<String> {
    let failed =
        |error: Error| error.context(format!("template `{}` can't be used", template.name));
    let mut all = mapping(&template.text).map_err(failed)?;
    fill(&mut all, guest).map_err(failed)?;
    write(&all)
}

fn fill(all: &mut Mapping, guest: &Guest) -> Result<()> {
    default(all, "minimumLimaVersion", OLDEST.into());
    match &guest.image {
        Some(image) => drop(all.insert("images".into(), Value::from(vec![local(image)?]))),
        // With a `base` they come from there.
        None if !all.contains_key("images") && !all.contains_key("base") => {
            return Err(Error::new(ErrorKind::Config, "it names no image"));
        }
        None => {}
    }
    set_limits(all, &guest.limits);
    let mut mounts = list(all, "mounts");
    // What a template's author wants to be seen, and what the env's file says.
    for mount in &guest.mounts {
        mounts.push(mount_value(mount)?);
    }
    all.insert("mounts".into(), mounts.into());
    all.insert("user".into(), user(all.get("user"), &guest.user));
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
    set_ports(all, &Forwarding::Off, &guest.ports);
    match guest.vm {
        Some(Vm::Vz) => {
            default(all, "vmType", "vz".into());
            // The other drivers don't have that network.
            if all.get("vmType").and_then(Value::as_str) == Some("vz") {
                let network = pairs(&[("vzNAT", true.into())]);
                default(all, "networks", Value::from(vec![network]));
            }
        }
        Some(Vm::Qemu) => default(all, "vmType", "qemu".into()),
        None => {}
    }
    if guest.rosetta {
        set_rosetta(all, true);
    }
    Ok(())
}

/// Has the guest run programs of x86-64, or not; all else of its driver stays.
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

/// The env's, else the template's own, else ours.
fn set_limits(all: &mut Mapping, limits: &Limits) {
    let (cpus, memory, disk) = DEFAULTS;
    let size = |bytes: u64| Value::from(ByteSize(bytes).to_string());
    default(all, "cpus", cpus.into());
    default(all, "memory", size(memory));
    default(all, "disk", size(disk));
    let asked = [
        ("cpus", limits.cpus.map(Value::from)),
        ("memory", limits.memory.map(|bytes| size(bytes.0))),
        ("disk", limits.disk.map(|bytes| size(bytes.0))),
    ];
    for (key, value) in asked {
        if let Some(value) = value {
            all.insert(key.into(), value);
        }
    }
}

/// Forwards these ports in place of those before.
pub(super) fn set_ports(all: &mut Mapping, before: &Forwarding, now: &Forwarding) {
    let (before, mut rules) = (before.rules(), now.rules());
    // The first rule that fits counts: the env's, those of the template's author, and what turns off the rest.
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

/// A rule that forwards nothing of a range.
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
    default(&mut user, "uid", UID.into());
    user.into()
}

fn local(image: &ImageFile) -> Result<Value> {
    let location = expect_literal(&image.location)?;
    Ok(pairs(&[
        ("location", location.into()),
        ("arch", image.arch.to_string().into()),
    ]))
}

pub(super) fn mount_value(mount: &Mount) -> Result<Value> {
    Ok(pairs(&[
        ("location", expect_literal(&mount.host)?.into()),
        ("mountPoint", expect_literal(&mount.guest)?.into()),
        ("writable", (!mount.readonly).into()),
    ]))
}

/// A path as text that Lima takes as it is: it expands `~` at the beginning, and `{{…}}` anywhere.
pub(super) fn expect_literal(path: &Path) -> Result<&str> {
    let text = path
        .to_str()
        .filter(|text| text.starts_with('/') && !text.contains("{{"));
    text.ok_or_else(|| {
        let message = format!("Lima can't take the path {} as it is", path.display());
        Error::new(ErrorKind::Config, message)
            .with_hint("it has to be absolute, in UTF-8, and without `{{`")
    })
}

fn list(all: &Mapping, key: &str) -> Vec<Value> {
    let list = all.get(key).and_then(Value::as_sequence);
    list.cloned().unwrap_or_default()
}

fn default(all: &mut Mapping, key: &str, value: Value) {
    if all.get(key).is_none_or(Value::is_null) {
        all.insert(key.into(), value);
    }
}

/// Sets what a nested mapping doesn't say.
fn merge(all: &mut Mapping, key: &str, values: &[(&str, Value)]) {
    let mut inner = all
        .get(key)
        .and_then(Value::as_mapping)
        .cloned()
        .unwrap_or_default();
    for (key, value) in values {
        default(&mut inner, key, value.clone());
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

    fn made(text: &str, guest: &Guest) -> Mapping {
        mapping(&instance_yaml(&template(text), guest).unwrap()).unwrap()
    }

    const IMAGES: &str = "images: [{location: 'https://x/y', arch: aarch64}]\n";

    #[test]
    fn nothing_of_the_host_is_seen_and_no_port_is_forwarded() {
        let all = made(IMAGES, &Guest::default());
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
    fn what_the_template_says_stays() {
        let text = format!(
            "{IMAGES}cpus: 2\nmemory: 1GiB\nprovision: [{{mode: system, script: 'true'}}]\n\
                            portForwards: [{{guestPort: 80, hostPort: 8080}}]\nunknown: kept\n"
        );
        let limits = Limits {
            memory: Some(ByteSize(2 << 30)),
            ..Limits::default()
        };
        let all = made(
            &text,
            &Guest {
                limits,
                ..Guest::default()
            },
        );
        assert_eq!(all.get("cpus"), Some(&2.into()));
        assert_eq!(all.get("memory"), Some(&"2GiB".into()));
        assert_eq!(all.get("unknown"), Some(&"kept".into()));
        let rules = list(&all, "portForwards");
        assert_eq!(rules[0].get("hostPort"), Some(&8080.into()));
        assert_eq!(rules.len(), 3);
        // A machine of a machine has the rules once.
        let again = made(&write(&all).unwrap(), &Guest::default());
        assert_eq!(list(&again, "portForwards").len(), 3);
    }

    #[test]
    fn values_are_values_whatever_is_in_them() {
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
        let plain = made(&text, &Guest::default());
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
            let guest = Guest {
                mounts: vec![mount.clone()],
                image: Some(image),
                ..Guest::default()
            };
            let yaml = instance_yaml(&template(&text), &guest).unwrap();
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
            let guest = Guest {
                mounts: vec![mount],
                ..Guest::default()
            };
            assert!(instance_yaml(&template(IMAGES), &guest).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mac_gets_its_driver_its_network_and_rosetta() {
        let guest = Guest {
            vm: Some(Vm::Vz),
            rosetta: true,
            ..Guest::default()
        };
        let yaml = instance_yaml(&template(IMAGES), &guest).unwrap();
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
    fn native_forwards_come_before_what_turns_the_rest_off() {
        let ports = Forwarding::Native(vec![(
            GuestPort::new(80).unwrap(),
            HostPort::new(8080).unwrap(),
        )]);
        let all = made(
            IMAGES,
            &Guest {
                ports,
                ..Guest::default()
            },
        );
        let rules = list(&all, "portForwards");
        assert_eq!(rules[0].get("hostPort"), Some(&8080.into()));
        assert_eq!(rules[0].get("hostIP"), Some(&"127.0.0.1".into()));
        assert_eq!(rules.len(), 3);
    }
}
