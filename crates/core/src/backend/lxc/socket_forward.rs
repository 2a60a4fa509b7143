//! Sockets of this host that a guest may use for a while, by the engine's proxy device.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::Client;
use super::wire::Config;
use crate::backend::SocketForward;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

pub(super) async fn forward_socket(
    client: &Client,
    name: &InstanceName,
    forward: &SocketForward,
) -> Result<()> {
    if client.id.is_remote() {
        let message = format!("{} is on another machine than the socket", client.kind());
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let device = Config::from(
        [
            ("type", "proxy".to_owned()),
            ("bind", "instance".to_owned()),
            ("listen", format!("unix:{}", forward.guest)),
            ("connect", format!("unix:{}", forward.host.display())),
            ("uid", forward.uid.to_string()),
            ("gid", forward.gid.to_string()),
            ("mode", "0600".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    // A change of some devices leaves the others alone.
    let devices = BTreeMap::from([(forward.name.as_str(), device)]);
    let path = format!("/1.0/instances/{name}");
    client
        .change("PATCH", &path, &json!({ "devices": devices }))
        .await
}

/// Ends one forward; one that isn't there is a success, and so is an instance that isn't.
pub(super) async fn end_socket_forward(
    client: &Client,
    name: &InstanceName,
    forward: &str,
) -> Result<()> {
    match end(client, name, |device| device == forward).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        ended => ended,
    }
}

/// Ends all loans: those of a time that a snapshot has brought back.
pub(super) async fn end_socket_forwards(client: &Client, name: &InstanceName) -> Result<()> {
    end(client, name, is_socket_forward).await
}

/// Takes what is lent out of devices that are copied.
pub(super) fn without_socket_forwards(devices: &mut Value) {
    take(devices, is_socket_forward);
}

fn is_socket_forward(device: &str) -> bool {
    device.starts_with(SocketForward::PREFIX)
}

/// Only the whole of an instance's devices can be set to have one less.
async fn end(client: &Client, name: &InstanceName, is_over: impl Fn(&str) -> bool) -> Result<()> {
    let path = format!("/1.0/instances/{name}");
    let mut now: Value = client.get(&path).await?;
    match take(&mut now["devices"], is_over) {
        true => client.change("PUT", &path, &now).await,
        false => Ok(()),
    }
}

/// Takes devices away; returns whether there was one to take.
fn take(devices: &mut Value, is_over: impl Fn(&str) -> bool) -> bool {
    let Some(devices) = devices.as_object_mut() else {
        return false;
    };
    let before = devices.len();
    devices.retain(|name, _| !is_over(name));
    devices.len() < before
}
