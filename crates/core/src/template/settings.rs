//! Reads a `lima.yaml`, and changes it without touching anything else.

use std::path::PathBuf;
use std::str::FromStr;

use serde_yaml::{Mapping, Value};
use yaml_edit::YamlFile;

use super::Arch;
use super::instance::{Forwarding, ensure_literal, mount_value, set_ports, set_rosetta};
use crate::backend::Mount;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ByteSize, Limits};

/// Settings of a machine or a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineSettings {
    /// Limits, if set.
    pub limits: Limits,
    /// Mounted directories of the host.
    pub mounts: Vec<Mount>,
    /// The guest's user.
    pub user: Option<String>,
    /// The requested architecture.
    pub arch: Option<Arch>,
    /// Architectures with images, in the order of [`Arch::ALL`].
    pub arches: Vec<Arch>,
    /// The guest has an address on the host's network (vzNAT).
    pub has_own_address: bool,
    /// Lima only boots it: no mounts, forwards or scripts.
    pub is_plain: bool,
}

/// Parses settings.
///
/// # Errors
/// `Config` with the line, for invalid YAML.
pub fn read_settings(yaml: &str) -> Result<MachineSettings> {
    mapping(yaml).map(|all| parse(&all))
}

fn parse(all: &Mapping) -> MachineSettings {
    let text = |key: &str| all.get(key).map(scalar).unwrap_or_default();
    let size = |key: &str| text(key).and_then(|text| size(&text));
    let list = |key: &str| {
        all.get(key)
            .and_then(Value::as_sequence)
            .into_iter()
            .flatten()
    };
    let images: Vec<Arch> = list("images")
        .filter_map(|image| image.get("arch")?.as_str()?.parse().ok())
        .collect();
    let vz_nat = |network: &Value| network.get("vzNAT").and_then(Value::as_bool) == Some(true);
    MachineSettings {
        limits: Limits {
            cpus: text("cpus").and_then(|count| count.parse().ok()),
            memory: size("memory"),
            disk: size("disk"),
        },
        mounts: list("mounts").filter_map(mount).collect(),
        user: all.get("user").and_then(|user| scalar(user.get("name")?)),
        arch: text("arch").and_then(|arch| arch.parse().ok()),
        arches: Arch::ALL
            .into_iter()
            .filter(|arch| images.contains(arch))
            .collect(),
        has_own_address: list("networks").any(vz_nat),
        is_plain: all.get("plain").and_then(Value::as_bool) == Some(true),
    }
}

/// A change of a machine's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// `None` keeps the current value.
    pub limits: Limits,
    pub mounts: Vec<Mount>,
    /// Old and new port forwards.
    pub forwards: [Forwarding; 2],
    /// `None` keeps the current value.
    pub rosetta: Option<bool>,
}

/// Applies a change, keeping comments, order and all other keys.
///
/// # Errors
/// `Config` for invalid settings, and for a path that Lima would expand.
pub fn change(yaml: &str, change: &Change) -> Result<String> {
    let (limits, mounts) = (&change.limits, &change.mounts);
    let before = mapping(yaml)?;
    let mut wanted = before.clone();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            wanted.insert(key.into(), value);
        }
    };
    set("cpus", limits.cpus.map(Value::from));
    set("memory", limits.memory.map(|size| size.to_string().into()));
    set("disk", limits.disk.map(|size| size.to_string().into()));
    // An equal list may have options and comments, which are kept.
    if parse(&before).mounts != *mounts {
        let mounts: Vec<Value> = mounts.iter().map(mount_value).collect::<Result<_>>()?;
        set("mounts", Some(mounts.into()));
    }
    let [old, new] = &change.forwards;
    if old != new {
        set_ports(&mut wanted, old, new);
    }
    if let Some(on) = change.rosetta {
        set_rosetta(&mut wanted, on);
    }
    if wanted == before {
        return Ok(yaml.to_owned());
    }
    // If the lossless editor changes anything else, the comments are dropped.
    let edited = edit(yaml, &before, &wanted);
    let edited = edited.filter(|text| mapping(text).is_ok_and(|now| now == wanted));
    edited.map_or_else(|| write(&wanted), Ok)
}

fn edit(yaml: &str, before: &Mapping, wanted: &Mapping) -> Option<String> {
    let file = YamlFile::from_str(yaml).ok()?;
    let document = file.document()?.as_mapping()?;
    for (key, value) in wanted {
        if before.get(key) == Some(value) {
            continue;
        }
        match (key.as_str()?, value) {
            (key, Value::String(text)) => document.set(key, text.as_str()),
            (key, Value::Number(number)) => document.set(key, number.as_i64()?),
            // The editor doesn't support lists.
            _ => return None,
        }
    }
    Some(file.to_string())
}

pub(super) fn write(all: &Mapping) -> Result<String> {
    serde_yaml::to_string(all).map_err(|error| {
        Error::new(ErrorKind::Internal, "cannot write the settings").caused_by(error)
    })
}

pub(super) fn mapping(yaml: &str) -> Result<Mapping> {
    let parsed: Value = serde_yaml::from_str(yaml).map_err(|error| {
        let line = error
            .location()
            .map(|location| format!(" in line {}", location.line()));
        let message = format!("invalid YAML{}", line.unwrap_or_default());
        Error::new(ErrorKind::Config, message).caused_by(error)
    })?;
    match parsed {
        Value::Mapping(all) => Ok(all),
        _ => Err(Error::new(
            ErrorKind::Config,
            "invalid settings: expected a mapping",
        )),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Parses Lima's sizes: `4GiB`, `4G`, `4 gb` and `4096M` are equal; `1.5GiB` is valid as well.
pub(super) fn size(text: &str) -> Option<ByteSize> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let shift = match unit.strip_suffix('i').unwrap_or(unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let bytes = digits.checked_mul(1 << shift)? / scale;
    let bytes = u64::try_from(bytes).ok()?;
    (bytes > 0).then_some(ByteSize(bytes))
}

fn mount(value: &Value) -> Option<Mount> {
    let host = PathBuf::from(value.get("location")?.as_str()?);
    let guest = value.get("mountPoint").and_then(Value::as_str);
    // The default mount point is the host's path.
    let guest = guest.map_or_else(|| host.clone(), PathBuf::from);
    ensure_literal(&host).ok()?;
    Some(Mount {
        host,
        guest,
        readonly: value.get("writable").and_then(Value::as_bool) != Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "# mine\ncpus: 4 # enough\nmemory: \"4GiB\"\ndisk: 50GiB\nmounts: []\n\
                        user: {name: dev}\nprovision:\n- mode: system\n  script: |\n    echo '# no comment'\n";

    #[test]
    fn parses_limits_in_lima_units() {
        let current = read_settings(YAML).unwrap();
        assert_eq!(current.limits.cpus, Some(4));
        assert_eq!(current.limits.memory, Some(ByteSize(4 << 30)));
        assert_eq!(current.user.as_deref(), Some("dev"));
        let odd = read_settings("memory: 4gb\ndisk: 1073741824\n")
            .unwrap()
            .limits;
        assert_eq!(
            (odd.memory, odd.disk),
            (Some(ByteSize(4 << 30)), Some(ByteSize(1 << 30)))
        );
        for (text, bytes) in [
            ("1.5GiB", Some(3 << 29)),
            ("4 gb", Some(4 << 30)),
            ("512M", Some(512 << 20)),
            ("0.5k", Some(512)),
            ("1000000007", Some(1_000_000_007)),
            ("99999999999PiB", None),
            ("0", None),
            ("", None),
            (".", None),
            ("1.2.3G", None),
            ("4 apples", None),
            ("-1G", None),
        ] {
            assert_eq!(size(text), bytes.map(ByteSize), "{text:?}");
        }
        let error = read_settings("a: 1\nb: [\n").unwrap_err();
        assert!(error.report().message.contains("line"), "{error:?}");
        assert!(read_settings("[1]").is_err());
    }

    #[test]
    fn change_keeps_everything_else() {
        let limits = Limits {
            cpus: Some(2),
            memory: Some(ByteSize(1 << 30)),
            disk: None,
        };
        let wanted = Change {
            limits,
            ..Change::default()
        };
        let changed = change(YAML, &wanted).unwrap();
        assert!(
            changed.starts_with("# mine\ncpus: 2 # enough\n"),
            "{changed}"
        );
        assert!(changed.contains("echo '# no comment'"));
        let current = read_settings(&changed).unwrap();
        assert_eq!(
            current.limits,
            Limits {
                disk: Some(ByteSize(50 << 30)),
                ..limits
            }
        );
        assert_eq!(change(&changed, &wanted).unwrap(), changed);
    }

    #[test]
    fn mounts_are_read_back_unchanged() {
        let mounts = [Mount {
            host: "/src/a 'b' \"c\": #d".into(),
            guest: "/work/ä\n".into(),
            readonly: true,
        }];
        let wanted = Change {
            mounts: mounts.to_vec(),
            ..Change::default()
        };
        let changed = change(YAML, &wanted).unwrap();
        assert_eq!(read_settings(&changed).unwrap().mounts, mounts);
    }

    #[test]
    fn forwards_and_rosetta_keep_the_authors_settings() {
        let yaml = format!(
            "{YAML}portForwards:\n- {{guestPort: 80, hostPort: 8080}}\nvmOpts: {{vz: {{diskImageFormat: raw}}}}\n"
        );
        let port = crate::model::GuestPort::new(5173).unwrap();
        let native = Forwarding::Native(vec![(port, port.on_host())]);
        let on = Change {
            forwards: [Forwarding::Off, native.clone()],
            rosetta: Some(true),
            ..Change::default()
        };
        let with = mapping(&change(&yaml, &on).unwrap()).unwrap();
        let ports = |all: &Mapping| -> Vec<Option<u64>> {
            let rules = all.get("portForwards").and_then(Value::as_sequence);
            let port = |rule: &Value| rule.get("guestPort").and_then(Value::as_u64);
            rules.unwrap().iter().map(port).collect()
        };
        assert_eq!(ports(&with), [Some(5173), Some(80), None, None]);
        let off = Change {
            forwards: [native, Forwarding::Off],
            rosetta: Some(false),
            ..Change::default()
        };
        let without = change(&write(&with).unwrap(), &off).unwrap();
        let without = mapping(&without).unwrap();
        assert_eq!(ports(&without), [Some(80), None, None]);
        let vz = without.get("vmOpts").and_then(|options| options.get("vz"));
        let vz = vz.unwrap();
        assert_eq!(vz.get("diskImageFormat"), Some(&"raw".into()));
        let enabled = vz.get("rosetta").and_then(|rosetta| rosetta.get("enabled"));
        assert_eq!(enabled, Some(&false.into()));
    }
}
