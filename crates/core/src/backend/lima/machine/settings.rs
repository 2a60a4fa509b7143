//! What is set on a machine: `lima.yaml` says what is, the record says what was asked for.
//!
//! Lima reads `lima.yaml` at a start only, and `limactl edit` refuses a running machine. So a change is
//! written to the file, as a whole, and counts from the next start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::backend::lima::images::{Images, fingerprint_of};
use crate::backend::lima::lifecycle::scripts;
use crate::backend::lima::machine::directory::{Directory, YAML};
use crate::backend::lima::machine::record::Record;
use crate::backend::{Image, LaunchSpec, Mount, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::home::replace;
use crate::model::{Fingerprint, GuestPort, Limits};
use crate::template::{self, Change, Forwarding, Guest, ImageFile, Template, Templates, Vm};

/// The settings of a new machine.
pub(crate) struct Made {
    pub(crate) yaml: String,
    /// What the limits came to.
    pub(crate) written: Limits,
    /// What they are where nothing is asked for.
    pub(crate) defaults: Limits,
    /// Directories that its template has it see.
    pub(crate) template_mounts: Vec<Mount>,
    pub(crate) base_image: Option<Fingerprint>,
    /// Its disk comes from a machine that has run.
    pub(crate) is_copy: bool,
}

/// The settings of a new machine, from its image.
///
/// # Errors
/// `NotFound` for an image that is gone, `Config` for a template that can't be used, `Unsupported` for an
/// image of an engine, and for what Lima can't do.
pub(crate) fn of_new(spec: &LaunchSpec, templates: &Templates, images: &Images) -> Result<Made> {
    expect_possible(&spec.settings, spec.name.as_str())?;
    let (template, image, base_image) = match &spec.image {
        Image::Template { name } => {
            let template = templates.get(&name.parse()?)?;
            let base = fingerprint_of(&template.text);
            (template, None, base)
        }
        Image::Local { fingerprint } => {
            let (location, yaml, architecture) = images.find(fingerprint)?;
            let file = ImageFile {
                location,
                arch: architecture.parse()?,
            };
            let template = Template::of_machine(&yaml)?;
            (template, Some(file), Some(fingerprint.clone()))
        }
        Image::Simplestreams { .. } | Image::Remote(_) => {
            let message = "Lima makes machines of templates, not of an engine's images";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let is_copy = image.is_some();
    let guest = Guest {
        limits: spec.settings.limits,
        mounts: spec.settings.mounts.clone(),
        user: spec.user.clone(),
        nesting: spec.settings.nesting,
        image,
        vm: vm(),
        rosetta: spec.settings.rosetta,
        ports: forwarding(&spec.settings.native_ports),
    };
    let yaml = template::instance_yaml(&template, &guest)?;
    if !guest.mounts.is_empty() && template::read_settings(&yaml)?.is_plain {
        let message = "its template says `plain: true`, for which Lima mounts nothing";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("leave `mounts:` out, or take another template"));
    }
    let without = Guest {
        limits: Limits::default(),
        mounts: Vec::new(),
        ..guest
    };
    let defaults = template::read_settings(&template::instance_yaml(&template, &without)?)?;
    Ok(Made {
        written: template::read_settings(&yaml)?.limits,
        defaults: defaults.limits,
        template_mounts: defaults.mounts,
        yaml: scripts::noting(&yaml)?,
        base_image,
        is_copy,
    })
}

/// Each port from the same one of the host.
fn forwarding(ports: &[GuestPort]) -> Forwarding {
    let both = ports.iter().map(|port| (*port, port.on_host()));
    Forwarding::Native(both.collect())
}

/// # Errors
/// `Unsupported` for machines that start by themselves: nothing of Lima's runs before the first of them does.
/// It can have the system start one when its user logs in, by a file outside of `LIMA_HOME` that names the machine:
/// after a rename or a removal of ours that would start another one, or make one.
fn expect_possible(settings: &Settings, machine: &str) -> Result<()> {
    if !settings.autostart {
        return Ok(());
    }
    let message = "Lima starts no machine by itself, so `autostart: true` can't be set";
    let hint = format!(
        "leave it out; `limactl start-at-login {machine}` starts the machine when you log in, until \
         it is renamed or removed"
    );
    Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint))
}

/// The driver of this system: on macOS the only one with a network of its own.
fn vm() -> Option<Vm> {
    cfg!(target_os = "macos").then_some(Vm::Vz)
}

/// What is set on a machine.
///
/// # Errors
/// `Config` for settings that can't be read.
pub(crate) fn read(yaml: &str, record: Option<&Record>) -> Result<Settings> {
    let seen = template::read_settings(yaml)?;
    let Some(record) = record else {
        return Ok(Settings {
            limits: seen.limits,
            mounts: seen.mounts,
            ..Settings::default()
        });
    };
    let (asked, written) = (record.limits, record.written);
    // What somebody has changed in the file counts as it is there.
    Ok(Settings {
        limits: Limits {
            cpus: asked_or(asked.cpus, written.cpus, seen.limits.cpus),
            memory: asked_or(asked.memory, written.memory, seen.limits.memory),
            disk: asked_or(asked.disk, written.disk, seen.limits.disk),
        },
        mounts: without(seen.mounts, &record.template_mounts),
        ..recorded(Some(record))
    })
}

/// What was asked for of a machine whose `lima.yaml` can't be read.
pub(crate) fn recorded(record: Option<&Record>) -> Settings {
    let asked = |record: &Record| Settings {
        limits: record.limits,
        nesting: record.nesting(),
        autostart: false,
        mounts: Vec::new(),
        native_ports: record.native_ports.clone(),
        rosetta: record.rosetta,
    };
    record.map(asked).unwrap_or_default()
}

/// Without the template's own.
fn without(mut mounts: Vec<Mount>, templates: &[Mount]) -> Vec<Mount> {
    for own in templates {
        if let Some(at) = mounts.iter().position(|mount| mount == own) {
            mounts.remove(at);
        }
    }
    mounts
}

fn asked_or<T: PartialEq>(asked: Option<T>, written: Option<T>, seen: Option<T>) -> Option<T> {
    match written == seen {
        true => asked,
        false => seen,
    }
}

/// Sets what stands in `settings`, from the next start on.
///
/// # Errors
/// `Unsupported` for a disk that would shrink and for what Lima can't do, with nothing changed.
pub(crate) fn change(machine: &Directory, mut record: Record, settings: &Settings) -> Result<()> {
    expect_possible(settings, &machine.name())?;
    let yaml = machine.text(YAML)?.unwrap_or_default();
    let now = template::read_settings(&yaml)?.limits;
    let defaults = record.defaults;
    let mut wanted = settings.limits.or(defaults);
    match (settings.limits.disk, now.disk) {
        (Some(wanted), Some(now)) if wanted < now => {
            let message = format!("a disk of {now} can't be made one of {wanted}: disks only grow");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("make a new env with a smaller disk, and copy what is needed"));
        }
        // One that has grown stays.
        (None, Some(now)) => wanted.disk = Some(now),
        _ => {}
    }
    let mounts = record.template_mounts.iter().chain(&settings.mounts);
    let changed = template::change(
        &yaml,
        &Change {
            limits: wanted,
            mounts: mounts.cloned().collect(),
            forwards: [&record.native_ports, &settings.native_ports].map(|ports| forwarding(ports)),
            rosetta: (record.rosetta != settings.rosetta).then_some(settings.rosetta),
        },
    )?;
    record.set_settings(settings);
    record.written = template::read_settings(&changed)?.limits;
    let mode = fs::Permissions::from_mode(0o600);
    replace(&machine.file(YAML), changed.as_bytes(), mode)
        .map_err(|error| Error::io("lima.yaml can't be written", error))?;
    record.write(machine)
}

/// Where directories of the host are in a guest, but for places that only Lima can name.
pub(crate) fn mounted_at(yaml: &str) -> Vec<String> {
    let seen = template::read_settings(yaml).unwrap_or_default();
    if seen.is_plain {
        // Lima does nothing of the kind for it.
        return Vec::new();
    }
    let places = seen.mounts.into_iter();
    let places = places.filter_map(|mount| mount.guest.into_os_string().into_string().ok());
    places
        .filter(|place| place.starts_with('/') && !place.contains("{{"))
        .collect()
}

/// Whether a machine has an address on the host's own network.
pub(crate) fn has_own_address(yaml: &str) -> bool {
    template::read_settings(yaml).is_ok_and(|seen| seen.has_own_address)
}

/// The architecture of a machine, as Lima writes it.
pub(crate) fn architecture(yaml: &str) -> String {
    let said = template::read_settings(yaml)
        .ok()
        .and_then(|seen| seen.arch);
    said.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |arch| arch.to_string(),
    )
}
