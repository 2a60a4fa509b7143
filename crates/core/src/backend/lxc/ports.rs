//! Forwards of host sockets into a guest, by the engine's proxy device.

use super::LxcBackend;
use crate::backend::Ports;
use crate::backend::Route;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::client::Client;
use super::wire::Config;
use crate::backend::SocketForward;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// Removes socket forwards from devices that are copied.
pub(super) fn strip_socket_forwards(devices: &mut Value) {
    remove_devices(devices, is_socket_forward);
}

fn is_socket_forward(device: &str) -> bool {
    device.starts_with(SocketForward::PREFIX)
}

/// Removing a device needs a `PUT` of all devices.
async fn remove(
    client: &Client,
    name: &InstanceName,
    matches: impl Fn(&str) -> bool,
) -> Result<()> {
    let path = format!("/1.0/instances/{name}");
    let mut instance: Value = client.get(&path).await?;
    if remove_devices(&mut instance["devices"], matches) {
        client.change("PUT", &path, &instance).await
    } else {
        Ok(())
    }
}

/// Returns whether a device was removed.
fn remove_devices(devices: &mut Value, matches: impl Fn(&str) -> bool) -> bool {
    let Some(devices) = devices.as_object_mut() else {
        return false;
    };
    let before = devices.len();
    devices.retain(|name, _| !matches(name));
    devices.len() < before
}

#[async_trait]
impl Ports for LxcBackend {
    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>> {
        super::dial::route(&self.client, &self.relays, name).await
    }

    async fn forward_socket(&self, name: &InstanceName, forward: &SocketForward) -> Result<()> {
        let client = &self.client;
        if client.id.is_remote() {
            let message = format!(
                "cannot forward a local socket to a remote {}",
                client.kind()
            );
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
        // `PATCH` leaves other devices unchanged.
        let devices = BTreeMap::from([(forward.name.as_str(), device)]);
        let path = format!("/1.0/instances/{name}");
        client
            .change("PATCH", &path, &json!({ "devices": devices }))
            .await
    }

    async fn end_socket_forward(&self, name: &InstanceName, forward: &str) -> Result<()> {
        let client = &self.client;
        match remove(client, name, |device| device == forward).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    async fn end_socket_forwards(&self, name: &InstanceName) -> Result<()> {
        let client = &self.client;
        remove(client, name, is_socket_forward).await
    }
}
