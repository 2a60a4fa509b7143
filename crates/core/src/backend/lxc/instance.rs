//! Changes of instances that take more than one request.

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::wire::mark_config;
use super::{LxcBackend, operation};
use crate::backend::{Backend, Image, LaunchSpec, Marks, Nesting, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName, Limits, SnapshotName};

pub(super) async fn create(
    client: &Client,
    spec: &LaunchSpec,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<()> {
    let mut config = mark_config(&spec.marks);
    if spec.nesting == Nesting::On {
        for key in [
            "nesting",
            "syscalls.intercept.mknod",
            "syscalls.intercept.setxattr",
        ] {
            config.insert(format!("security.{key}"), "true".to_owned());
        }
    }
    if let Some(cpus) = spec.limits.cpus {
        config.insert("limits.cpu".to_owned(), cpus.to_string());
    }
    if let Some(memory) = spec.limits.memory {
        config.insert("limits.memory".to_owned(), memory.to_string());
    }
    config.retain(|_, value| !value.is_empty());
    let body = json!({
        "name": spec.name,
        "type": "container",
        "source": source(&spec.image),
        "config": config,
        "devices": devices(client, &spec.limits).await?,
    });
    operation::change(client, "/1.0/instances", &body, progress, cancel).await
}

fn source(image: &Image) -> Value {
    match image {
        Image::Local { fingerprint } => json!({ "type": "image", "fingerprint": fingerprint }),
        Image::Simplestreams { server, alias } => json!({
            "type": "image",
            "mode": "pull",
            "protocol": "simplestreams",
            "server": server,
            "alias": alias,
        }),
    }
}

/// A disk limit needs a root device of the instance's own: the profile's, with a size.
async fn devices(client: &Client, limits: &Limits) -> Result<Value> {
    let Some(disk) = limits.disk else {
        return Ok(json!({}));
    };
    let profile: Value = client.get("/1.0/profiles/default").await?;
    let devices = profile["devices"].as_object().into_iter().flatten();
    let mut root = devices
        .map(|(name, device)| (name.clone(), device.clone()))
        .find(|(_, device)| device["path"] == "/")
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "the engine's default profile has no root disk",
            )
            .with_hint("initialise the engine: `lxd init` or `incus admin init`")
        })?;
    root.1["size"] = json!(disk.to_string());
    Ok(json!({ root.0: root.1 }))
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
    // A snapshot carries the config of its time, our marks included.
    set_marks(client, name, &before.marks).await
}
