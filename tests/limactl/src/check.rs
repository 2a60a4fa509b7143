//! What is refused in a lima.yaml, with the sentences that the real one has for it.

use anyhow::{Result, anyhow, bail};

use crate::faults::{Faults, version_at_least};
use crate::log::{self, quoted};
use crate::yaml::{Image, Mount, Provision, Yaml, bytes};

const ARCHS: &[&str] = &["x86_64", "aarch64", "armv7l", "ppc64le", "riscv64", "s390x"];
const MODES: &[&str] = &[
    "system",
    "user",
    "boot",
    "data",
    "dependency",
    "ansible",
    "yq",
];
const SYSTEM_PATHS: &[&str] = &[
    "/", "/bin", "/dev", "/etc", "/home", "/opt", "/sbin", "/tmp", "/usr", "/var",
];

/// The fields of pkg/limatype/lima_yaml.go, where an inner one is below its outer one's name.
const FIELDS: &[(&str, &str)] = &[
    (
        "",
        "base minimumLimaVersion vmType vmOpts os arch images cpuType cpus memory disk additionalDisks mounts \
         mountTypesUnsupported mountType mountInotify ssh firmware audio video provision upgradePackages containerd \
         guestInstallPrefix probes portForwards copyToHost message networks env param dns hostResolver \
         propagateProxyEnv caCerts rosetta plain timezone nestedVirtualization user tpm osOpts",
    ),
    ("user", "name comment home shell uid passwordlessSudo"),
    (
        "images",
        "location arch digest kernel initrd variant archVariant",
    ),
    ("mounts", "location mountPoint writable sshfs 9p virtiofs"),
    (
        "ssh",
        "localPort loadDotSSHPubKeys forwardAgent forwardX11 forwardX11Trusted overVsock",
    ),
    ("containerd", "system user archives"),
    (
        "provision",
        "mode skipDefaultDependencyResolution script file playbook content overwrite owner path permissions \
         expression format",
    ),
    ("probes", "mode description script file hint"),
    (
        "portForwards",
        "guestIPMustBeZero guestIP guestPort guestPortRange guestSocket hostIP hostPort hostPortRange hostSocket \
         proto reverse ignore static",
    ),
    ("copyToHost", "guest host skipIfMissing deleteOnStop"),
    ("networks", "lima socket vzNAT macAddress interface metric"),
    ("hostResolver", "enabled ipv6 hosts"),
    ("rosetta", "enabled binfmt"),
    ("vmOpts", "qemu vz wsl2"),
    ("video", "display vnc"),
    ("audio", "device interface"),
    ("firmware", "legacyBIOS images"),
    ("caCerts", "removeDefaults files certs"),
    ("additionalDisks", "name format fsType fsArgs"),
];

/// The first field that Lima doesn't know, with its path.
fn unknown_field(value: &serde_yaml::Value) -> Option<String> {
    let top = value.as_mapping()?;
    if let Some(key) = unknown_key(value, FIELDS[0].1) {
        return Some(key);
    }
    for (outer, known) in &FIELDS[1..] {
        let Some(inner) = top.get(*outer) else {
            continue;
        };
        let items = match inner {
            serde_yaml::Value::Sequence(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        if let Some(key) = items.iter().find_map(|item| unknown_key(item, known)) {
            return Some(format!("{outer}.{key}"));
        }
    }
    None
}

fn unknown_key(value: &serde_yaml::Value, known: &str) -> Option<String> {
    let keys = value.as_mapping()?.keys();
    let text = |key: &serde_yaml::Value| match key {
        serde_yaml::Value::String(text) => text.clone(),
        other => format!("{other:?}"),
    };
    keys.map(text)
        .find(|key| !known.split_whitespace().any(|name| name == key))
}

/// As the real one on reading: only a warning.
pub(crate) fn warn_of_unknown_fields(yaml: &Yaml, what: &str) -> Option<String> {
    let field = unknown_field(&yaml.value)?;
    log::warn_with(
        "Non-strict YAML detected; please check for typos",
        &[
            ("comment", what),
            ("error", &format!("unknown field {field:?}")),
        ],
    );
    Some(field)
}

/// Where something new is written. The real one goes on after its warning; this one is stricter, so that no test passes
/// with a field that does nothing.
pub(crate) fn refuse_unknown_fields(yaml: &Yaml, what: &str) -> Result<()> {
    match warn_of_unknown_fields(yaml, what) {
        None => Ok(()),
        Some(field) => bail!("unknown field {field:?} (only the stand-in of the tests refuses it)"),
    }
}

/// A `param` that nothing uses, which is found before all else.
pub(crate) fn params(yaml: &Yaml) -> Result<()> {
    for key in yaml.param.keys() {
        let uses = |text: &Option<String>| text.as_deref().is_some_and(|text| mentions(text, key));
        let in_scripts = yaml.provision.iter().any(|p| {
            [&p.script, &p.content, &p.owner, &p.path, &p.permissions]
                .into_iter()
                .any(uses)
        });
        let in_mounts = yaml
            .mounts
            .iter()
            .any(|m| mentions(&m.location, key) || uses(&m.mount_point));
        if !in_scripts && !in_mounts {
            bail!(
                "field `param` key {} is not used in any provision, probe, copyToHost, or portForward",
                quoted(key)
            );
        }
    }
    Ok(())
}

fn mentions(text: &str, key: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let variable = format!("PARAM_{key}");
    let as_variable = text.match_indices(&variable).any(|(at, _)| {
        !word(text[..at].chars().next_back()) && !word(text[at + variable.len()..].chars().next())
    });
    as_variable || text.contains(&format!(".Param.{key}"))
}

/// All that is wrong, each on a line.
pub(crate) fn validate(yaml: &Yaml, faults: &Faults) -> Result<()> {
    let mut errors = Vec::new();
    general(yaml, faults, &mut errors);
    if yaml.images.is_empty() {
        errors.push("field `images` must be set".to_owned());
    }
    for (i, image) in yaml.images.iter().enumerate() {
        image_errors(image, i, &mut errors);
    }
    for (i, mount) in yaml.mounts.iter().enumerate() {
        mount_errors(mount, i, &yaml.user.home, &mut errors);
    }
    for (i, provision) in yaml.provision.iter().enumerate() {
        provision_errors(provision, i, &mut errors);
    }
    for (i, rule) in yaml.rules.iter().enumerate() {
        let zero = std::net::IpAddr::from([0, 0, 0, 0]);
        if rule.must_be_zero() && rule.guest_ip() != zero {
            errors.push(format!(
                "field `portForwards[{i}].guestIPMustBeZero` can only be true when field `portForwards[{i}].guestIP` is 0.0.0.0"
            ));
        }
        if !matches!(rule.proto.as_deref(), None | Some("tcp" | "udp" | "any")) {
            errors.push(format!(
                "field `portForwards[{i}].proto` must be `tcp`, `udp`, or `any`"
            ));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(anyhow!(errors.join("\n")))
    }
}

fn general(yaml: &Yaml, faults: &Faults, errors: &mut Vec<String>) {
    if let Some(wanted) = &yaml.minimum_version
        && !version_at_least(faults.version(), wanted)
    {
        errors.push(format!(
            "template requires Lima version {}; this is only {}",
            quoted(wanted),
            quoted(faults.version())
        ));
    }
    if !["Linux", "Darwin", "FreeBSD", "Windows"].contains(&yaml.os.as_str()) {
        errors.push(format!(
            "field `os` must be one of `[Linux Darwin FreeBSD Windows]`; got {}",
            quoted(&yaml.os)
        ));
    }
    if !ARCHS.contains(&yaml.arch.as_str()) {
        errors.push(format!(
            "field `arch` must be one of {ARCHS:?}; got {}",
            quoted(&yaml.arch)
        ));
    }
    if !yaml.user.shell.starts_with('/') {
        errors.push(format!(
            "field `user.shell` must be an absolute path, got {}",
            quoted(&yaml.user.shell)
        ));
    }
    if yaml.cpus == 0 {
        errors.push("field `cpus` must be set".into());
    }
    if let Err(error) = bytes(&yaml.memory) {
        errors.push(format!("field `memory` has an invalid value: {error}"));
    }
    if let Err(error) = bytes(&yaml.disk) {
        errors.push(format!("field `disk` has an invalid value: {error}"));
    }
}

fn image_errors(image: &Image, i: usize, errors: &mut Vec<String>) {
    if !ARCHS.contains(&image.arch.as_str()) {
        errors.push(format!(
            "field `arch` must be one of {ARCHS:?}; got {}",
            quoted(&image.arch)
        ));
    }
    if image.location.is_empty() {
        errors.push(format!(
            "field `images[{i}].location` refers to an invalid local file path: ``: got empty path"
        ));
    }
    let good = |digest: &str| {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            let length = match algorithm {
                "sha256" => 64,
                "sha512" => 128,
                _ => 0,
            };
            hex.len() == length && hex.chars().all(|c| c.is_ascii_hexdigit())
        })
    };
    if let Some(digest) = image.digest.as_deref().filter(|digest| !good(digest)) {
        errors.push(format!(
            "field `images[{i}].digest` is invalid: {digest}: invalid checksum digest format"
        ));
    }
}

fn mount_errors(mount: &Mount, i: usize, home: &str, errors: &mut Vec<String>) {
    let field = format!("field `mounts[{i}].location`");
    if !mount.location.starts_with(['/', '~']) {
        errors.push(format!(
            "{field} must be an absolute path, got {}",
            quoted(&mount.location)
        ));
    }
    match std::fs::metadata(mount.source()) {
        Ok(meta) if !meta.is_dir() => {
            errors.push(format!(
                "{field} refers to a non-directory path: {}: %!w(<nil>)",
                quoted(&mount.location)
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            log::warn(format!(
                "{field} refers to a non-existent directory: {}:",
                quoted(&mount.location)
            ));
        }
        Err(error) => errors.push(format!(
            "{field} refers to an inaccessible path: {}: {error}",
            quoted(&mount.location)
        )),
    }
    let target = mount.target();
    let target = target.to_string_lossy();
    if SYSTEM_PATHS.contains(&target.as_ref()) {
        errors.push(format!(
            "field `mounts[{i}].mountPoint` must not be a system path such as /etc or /usr"
        ));
    } else if target == home {
        errors.push(format!(
            "field `mounts[{i}].mountPoint` is the reserved internal home directory {}",
            quoted(home)
        ));
    }
}

fn provision_errors(provision: &Provision, i: usize, errors: &mut Vec<String>) {
    let mode = provision.mode();
    if !MODES.contains(&mode) {
        errors.push(format!(
            "field `provision[{i}].mode` must one of `system`, `user`, `boot`, `data`, `dependency`, `ansible`, or `yq`"
        ));
    }
    if mode == "data" {
        match &provision.path {
            None => errors.push(format!(
                "field `provision[{i}].path` must not be empty when mode is `data`"
            )),
            Some(path) if !path.starts_with('/') => {
                errors.push(format!(
                    "field `provision[{i}].path` must be an absolute path"
                ));
            }
            Some(_) => {}
        }
    } else {
        if provision.script.as_deref().unwrap_or_default().is_empty() {
            errors.push(format!("field `provision[{i}].script` must not be empty"));
        }
        for (name, set) in [
            ("content", provision.content.is_some()),
            ("overwrite", provision.overwrite.is_some()),
            ("owner", provision.owner.is_some()),
            ("path", provision.path.is_some()),
            ("permissions", provision.permissions.is_some()),
        ] {
            if set {
                errors.push(format!(
                    "field `provision[{i}].{name}` can only be set when mode is `data`"
                ));
            }
        }
    }
    if provision
        .script
        .as_deref()
        .is_some_and(|script| script.contains("LIMA_CIDATA"))
    {
        log::warn("provisioning scripts should not reference the LIMA_CIDATA variables");
    }
}

/// Which driver runs it: an unknown one, and vz elsewhere than on a Mac, are refused.
pub(crate) fn driver(yaml: &Yaml, faults: &Faults) -> Result<()> {
    match yaml.vm_type.as_str() {
        "qemu" => Ok(()),
        "vz" if faults.allows_vz() => Ok(()),
        other => bail!("vmType {} is not a registered driver", quoted(other)),
    }
}
