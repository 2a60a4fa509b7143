//! Changes of instances that take more than one request.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::restrictions::{self, Allowed};
use super::socket_forward::{end_socket_forwards, without_socket_forwards};
use super::wire::{Config, Profile, mark_config};
use super::{LxcBackend, operation, vanished};
use crate::backend::{
    Backend, CopySpec, Image, LaunchSpec, Marks, Mount, Nesting, Progress, Secret, Settings,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName, SnapshotName};

/// Prefix of the devices that show a directory of the host, followed by a number.
pub(super) const MOUNT: &str = "ldm-mount-";
/// Containers in a container.
const NESTING: &str = "security.nesting";
/// What the original set with it: files of kinds that a container can't make itself.
const INTERCEPTIONS: [&str; 2] = [
    "security.syscalls.intercept.mknod",
    "security.syscalls.intercept.setxattr",
];
/// Ours: Docker was installed with it.
pub(super) const DOCKER: &str = "user.lxc-dev-manager.docker";
const CPUS: &str = "limits.cpu";
const MEMORY: &str = "limits.memory";
pub(super) const AUTOSTART: &str = "boot.autostart";

pub(super) async fn create(
    client: &Client,
    spec: &LaunchSpec,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<()> {
    let mut config = mark_config(&spec.marks);
    let allowed = restrictions::allowed(client).await?;
    config.extend(settings_config(&spec.settings, allowed));
    config.retain(|_, value| !value.is_empty());
    let mut devices = BTreeMap::new();
    if let Some(disk) = spec.settings.limits.disk {
        let (name, mut root) = profile_root(client).await?;
        root.insert("size".to_owned(), disk.to_string());
        devices.insert(name, root);
    }
    devices.extend(mount_devices(&spec.settings.mounts));
    let body = json!({
        "name": spec.name,
        "type": "container",
        "source": source(&spec.image)?,
        "config": config,
        "devices": devices,
    });
    operation::change(client, "/1.0/instances", &body, progress, cancel)
        .await
        .map(drop)
}

pub(super) async fn copy(
    client: &Client,
    spec: &CopySpec,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<()> {
    let (source, path) = match &spec.snapshot {
        Some(snapshot) => (
            format!("{}/{snapshot}", spec.source),
            format!("/1.0/instances/{}/snapshots/{snapshot}", spec.source),
        ),
        None => (
            spec.source.to_string(),
            format!("/1.0/instances/{}", spec.source),
        ),
    };
    // LXD takes keys of the source over by itself, profiles and devices it doesn't.
    let mut of: Value = client.get(&path).await?;
    without_socket_forwards(&mut of["devices"]);
    let mut config = mark_config(&spec.marks);
    config.retain(|_, value| !value.is_empty());
    let body = json!({
        "name": spec.name,
        "type": "container",
        "source": {
            "type": "copy",
            "source": source,
            "instance_only": true,
            // What its processes haven't written yet is missing in the copy, as after a power cut.
            "allow_inconsistent": true,
        },
        "config": config,
        "profiles": of["profiles"],
        "devices": of["devices"],
    });
    vanished::again(|| operation::change(client, "/1.0/instances", &body, progress, cancel))
        .await
        .map(drop)
}

fn source(image: &Image) -> Result<Value> {
    Ok(match image {
        Image::Template { name } => {
            let message = format!("`{name}` is a template of Lima's, which no other engine knows");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Image::Local { fingerprint } => json!({ "type": "image", "fingerprint": fingerprint }),
        Image::Simplestreams {
            server,
            alias,
            certificate,
        } => json!({
            "type": "image",
            "mode": "pull",
            "protocol": "simplestreams",
            "server": server,
            "alias": alias,
            "certificate": certificate.as_deref().unwrap_or_default(),
        }),
        Image::Remote(remote) => json!({
            "type": "image",
            "mode": "pull",
            "protocol": remote.protocol,
            "server": remote.server,
            "fingerprint": remote.fingerprint,
            "certificate": remote.certificate,
            "secret": remote.secret.as_ref().map_or("", Secret::reveal),
        }),
    })
}

/// Settings as keys of an instance's config; an empty value takes a key away. Nesting is on unless
/// somebody says otherwise, so as much of it is set as may be.
fn settings_config(settings: &Settings, allowed: Allowed) -> Config {
    let on = |set: bool| if set { "true" } else { "" }.to_owned();
    let wanted = settings.nesting != Nesting::Off && allowed.nesting;
    let interceptions = INTERCEPTIONS.map(|key| (key, wanted && allowed.interception));
    let docker = (DOCKER, wanted && settings.nesting == Nesting::Docker);
    let nesting = [(NESTING, wanted), docker].into_iter().chain(interceptions);
    let nesting = nesting.map(|(key, set)| (key.to_owned(), on(set)));
    let text = |value: Option<String>| value.unwrap_or_default();
    Config::from_iter(nesting.chain([
        (
            CPUS.to_owned(),
            text(settings.limits.cpus.map(|n| n.to_string())),
        ),
        (
            MEMORY.to_owned(),
            text(settings.limits.memory.map(|n| n.to_string())),
        ),
        (AUTOSTART.to_owned(), on(settings.autostart)),
    ]))
}

/// A disk limit needs a root device of the instance's own: the profile's, with a size.
async fn profile_root(client: &Client) -> Result<(String, Config)> {
    let profile: Profile = client.get("/1.0/profiles/default").await?;
    let mut devices = profile.devices.unwrap_or_default().into_iter();
    devices
        .rfind(|(_, device)| device.get("path").is_some_and(|path| path == "/"))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "the engine's default profile has no root disk",
            )
            .with_hint("initialise the engine: `lxd init` or `incus admin init`")
        })
}

fn mount_devices(mounts: &[Mount]) -> BTreeMap<String, Config> {
    let devices = mounts.iter().enumerate().map(|(number, mount)| {
        let mut device = Config::from([
            ("type".to_owned(), "disk".to_owned()),
            ("source".to_owned(), mount.host.display().to_string()),
            ("path".to_owned(), mount.guest.display().to_string()),
            // The guest's users are the host's of the same number there.
            ("shift".to_owned(), "true".to_owned()),
        ]);
        if mount.readonly {
            device.insert("readonly".to_owned(), "true".to_owned());
        }
        (format!("{MOUNT}{number}"), device)
    });
    devices.collect()
}

/// Replaces the whole of an instance's own config and devices: a `PATCH` can't take a device away.
pub(super) async fn configure(
    client: &Client,
    name: &InstanceName,
    settings: &Settings,
) -> Result<()> {
    let path = format!("/1.0/instances/{name}");
    let mut now: Value = client.get(&path).await?;
    let mut config: Config = read(&now["config"]);
    let allowed = restrictions::allowed(client).await?;
    for (key, value) in settings_config(settings, allowed) {
        match value.is_empty() {
            true => config.remove(&key),
            false => config.insert(key, value),
        };
    }
    let mut devices: BTreeMap<String, Config> = read(&now["devices"]);
    devices.retain(|name, _| !name.starts_with(MOUNT));
    devices.extend(mount_devices(&settings.mounts));
    let own_root = devices
        .iter_mut()
        .find(|(_, device)| device.get("path").is_some_and(|path| path == "/"));
    match (own_root, settings.limits.disk) {
        (Some((_, root)), Some(disk)) => drop(root.insert("size".to_owned(), disk.to_string())),
        (Some((_, root)), None) => drop(root.remove("size")),
        (None, Some(disk)) => {
            let (name, mut root) = profile_root(client).await?;
            root.insert("size".to_owned(), disk.to_string());
            devices.insert(name, root);
        }
        (None, None) => {}
    }
    now["config"] = json!(config);
    now["devices"] = json!(devices);
    client.change("PUT", &path, &now).await
}

/// A map of the engine's; `null` is an empty one.
fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

pub(super) async fn set_marks(client: &Client, name: &InstanceName, marks: &Marks) -> Result<()> {
    let body = json!({ "config": mark_config(marks) });
    client
        .change("PATCH", &format!("/1.0/instances/{name}"), &body)
        .await
}

/// The engines restore a running instance too, by stopping it themselves; the contract wants it
/// stopped, so that what has to be started again is known to the journal.
pub(super) async fn restore(
    backend: &LxcBackend,
    client: &Client,
    name: &InstanceName,
    snapshot: &SnapshotName,
) -> Result<()> {
    let before = backend.instance(name).await?;
    if before.status == EnvStatus::Running {
        let message = format!("instance `{name}` is running");
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    if !before.snapshots.iter().any(|known| known.name == *snapshot) {
        let message = format!("`{name}` has no snapshot `{snapshot}`");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let body = json!({ "restore": snapshot });
    client
        .change("PUT", &format!("/1.0/instances/{name}"), &body)
        .await?;
    // A snapshot carries the config of its time, our marks and loans included.
    set_marks(client, name, &before.marks).await?;
    end_socket_forwards(client, name).await
}
