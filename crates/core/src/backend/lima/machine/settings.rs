//! Settings of a machine: `lima.yaml` has the effective ones, the record the requested ones.
//!
//! Lima reads `lima.yaml` only at a start, and `limactl edit` refuses a running machine. So changes are written to the
//! file atomically and take effect at the next start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::images::{ImageStore, fingerprint_of};
use super::super::lifecycle::scripts;
use super::directory::{Directory, YAML};
use super::record::Record;
use crate::backend::{Image, LaunchSpec, Mount, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::home::replace;
use crate::model::{Fingerprint, GuestPort, Limits};
use crate::template::{self, Change, Forwarding, ImageFile, MachineSpec, Template, Templates, Vm};

/// Settings of a new machine.
pub(crate) struct NewMachine {
    pub(crate) yaml: String,
    /// The resulting limits.
    pub(crate) written: Limits,
    /// The template's limits.
    pub(crate) defaults: Limits,
    pub(crate) template_mounts: Vec<Mount>,
    pub(crate) base_image: Option<Fingerprint>,
    /// Its disk is a copy of another machine's.
    pub(crate) is_copy: bool,
}

/// Builds the settings of a new machine from its image.
///
/// # Errors
/// `NotFound` for the image, `Config` for an invalid template, `Unsupported` for an engine's image or unsupported
/// settings.
pub(crate) fn for_new_machine(
    spec: &LaunchSpec,
    templates: &Templates,
    images: &ImageStore,
) -> Result<NewMachine> {
    ensure_supported(&spec.settings, spec.name.as_str())?;
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
            let template = Template::from_machine(&yaml)?;
            (template, Some(file), Some(fingerprint.clone()))
        }
        Image::Simplestreams { .. } | Image::Remote(_) => {
            let message = "Lima creates machines from templates, not from images of LXD or Incus";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    let is_copy = image.is_some();
    let machine = MachineSpec {
        limits: spec.settings.limits,
        mounts: spec.settings.mounts.clone(),
        user: spec.user.clone(),
        nesting: spec.settings.nesting,
        image,
        vm: default_driver(),
        rosetta: spec.settings.rosetta,
        ports: forward_same_ports(&spec.settings.native_ports),
    };
    let yaml = template::instance_yaml(&template, &machine)?;
    if !machine.mounts.is_empty() && template::read_settings(&yaml)?.is_plain {
        let message = "mounts are not supported by a template with `plain: true`";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("remove `mounts:`, or use another template"));
    }
    let without = MachineSpec {
        limits: Limits::default(),
        mounts: Vec::new(),
        ..machine
    };
    let defaults = template::read_settings(&template::instance_yaml(&template, &without)?)?;
    Ok(NewMachine {
        written: template::read_settings(&yaml)?.limits,
        defaults: defaults.limits,
        template_mounts: defaults.mounts,
        yaml: scripts::wrap(&yaml)?,
        base_image,
        is_copy,
    })
}

/// Forwards each port from the same port of the host.
fn forward_same_ports(ports: &[GuestPort]) -> Forwarding {
    let pairs = ports.iter().map(|port| (*port, port.on_host()));
    Forwarding::Native(pairs.collect())
}

/// Rejects `autostart`: no process of Lima runs before its first machine. `limactl start-at-login` refers to the machine
/// by name outside of `LIMA_HOME`, so after a rename or deletion it would start or create another one.
///
/// # Errors
/// `Unsupported`.
fn ensure_supported(settings: &Settings, machine: &str) -> Result<()> {
    if !settings.autostart {
        return Ok(());
    }
    let message = "`autostart: true` is not supported by Lima";
    let hint = format!(
        "remove it; `limactl start-at-login {machine}` starts the machine when you log in, until \
         it is renamed or removed"
    );
    Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint))
}

/// The driver: on macOS the only one with a network shared with the host.
fn default_driver() -> Option<Vm> {
    cfg!(target_os = "macos").then_some(Vm::Vz)
}

/// Reads the settings of a machine.
///
/// # Errors
/// `Config` for invalid settings.
pub(crate) fn read(yaml: &str, record: Option<&Record>) -> Result<Settings> {
    let current = template::read_settings(yaml)?;
    let Some(record) = record else {
        return Ok(Settings {
            limits: current.limits,
            mounts: current.mounts,
            ..Settings::default()
        });
    };
    let (requested, written) = (record.limits, record.written);
    // Edits in the file take precedence.
    Ok(Settings {
        limits: Limits {
            cpus: requested_unless_edited(requested.cpus, written.cpus, current.limits.cpus),
            memory: requested_unless_edited(
                requested.memory,
                written.memory,
                current.limits.memory,
            ),
            disk: requested_unless_edited(requested.disk, written.disk, current.limits.disk),
        },
        mounts: without_template_mounts(current.mounts, &record.template_mounts),
        ..requested_settings(Some(record))
    })
}

/// The requested settings, for a machine with an unreadable `lima.yaml`.
pub(crate) fn requested_settings(record: Option<&Record>) -> Settings {
    let requested = |record: &Record| Settings {
        limits: record.limits,
        nesting: record.nesting(),
        autostart: false,
        mounts: Vec::new(),
        mount_owner: None,
        native_ports: record.native_ports.clone(),
        rosetta: record.rosetta,
    };
    record.map(requested).unwrap_or_default()
}

/// Removes the template's mounts.
fn without_template_mounts(mut mounts: Vec<Mount>, templates: &[Mount]) -> Vec<Mount> {
    for own in templates {
        if let Some(at) = mounts.iter().position(|mount| mount == own) {
            mounts.remove(at);
        }
    }
    mounts
}

fn requested_unless_edited<T: PartialEq>(
    requested: Option<T>,
    written: Option<T>,
    current: Option<T>,
) -> Option<T> {
    if written == current {
        requested
    } else {
        current
    }
}

/// Applies settings, from the next start on.
///
/// # Errors
/// `Unsupported` for a smaller disk or unsupported settings; then nothing has changed.
pub(crate) fn apply(machine: &Directory, mut record: Record, settings: &Settings) -> Result<()> {
    ensure_supported(settings, &machine.name())?;
    let yaml = machine.text(YAML)?.unwrap_or_default();
    let now = template::read_settings(&yaml)?.limits;
    let defaults = record.defaults;
    let mut wanted = settings.limits.or(defaults);
    match (settings.limits.disk, now.disk) {
        (Some(wanted), Some(now)) if wanted < now => {
            let message = format!("cannot shrink the disk from {now} to {wanted}");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("create a new env with a smaller disk, then copy your files"));
        }
        // A disk never shrinks.
        (None, Some(now)) => wanted.disk = Some(now),
        _ => {}
    }
    let mounts = record.template_mounts.iter().chain(&settings.mounts);
    let changed = template::change(
        &yaml,
        &Change {
            limits: wanted,
            mounts: mounts.cloned().collect(),
            forwards: [&record.native_ports, &settings.native_ports]
                .map(|ports| forward_same_ports(ports)),
            rosetta: (record.rosetta != settings.rosetta).then_some(settings.rosetta),
        },
    )?;
    record.set_settings(settings);
    record.written = template::read_settings(&changed)?.limits;
    let mode = fs::Permissions::from_mode(0o600);
    replace(&machine.file(YAML), changed.as_bytes(), mode)
        .map_err(|error| Error::io("cannot write lima.yaml", error))?;
    record.write(machine)
}

/// Mount points in the guest, except those with Lima's placeholders.
pub(crate) fn mount_points(yaml: &str) -> Vec<String> {
    let current = template::read_settings(yaml).unwrap_or_default();
    if current.is_plain {
        // Lima mounts nothing for it.
        return Vec::new();
    }
    let mount_points = current.mounts.into_iter();
    let mount_points =
        mount_points.filter_map(|mount| mount.guest.into_os_string().into_string().ok());
    mount_points
        .filter(|path| path.starts_with('/') && !path.contains("{{"))
        .collect()
}

/// Whether a machine has an address on the host's network.
pub(crate) fn has_own_address(yaml: &str) -> bool {
    template::read_settings(yaml).is_ok_and(|current| current.has_own_address)
}

/// The architecture of a machine, in Lima's spelling.
pub(crate) fn architecture(yaml: &str) -> String {
    let arch = template::read_settings(yaml)
        .ok()
        .and_then(|current| current.arch);
    arch.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |arch| arch.to_string(),
    )
}
