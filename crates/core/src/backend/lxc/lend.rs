//! Sockets of this host that a guest may use for a while, by the engine's proxy device.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::Client;
use super::wire::Config;
use crate::backend::Loan;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

pub(super) async fn lend(client: &Client, name: &InstanceName, loan: &Loan) -> Result<()> {
    if client.id.is_remote() {
        let message = format!("{} is on another machine than the socket", client.kind());
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let device = Config::from(
        [
            ("type", "proxy".to_owned()),
            ("bind", "instance".to_owned()),
            ("listen", format!("unix:{}", loan.guest)),
            ("connect", format!("unix:{}", loan.host.display())),
            ("uid", loan.uid.to_string()),
            ("gid", loan.gid.to_string()),
            ("mode", "0600".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    // A change of some devices leaves the others alone.
    let devices = BTreeMap::from([(loan.name.as_str(), device)]);
    let path = format!("/1.0/instances/{name}");
    client
        .change("PATCH", &path, &json!({ "devices": devices }))
        .await
}

/// Only the whole of an instance's devices can be set to have one less.
pub(super) async fn end_loan(client: &Client, name: &InstanceName, loan: &str) -> Result<()> {
    let path = format!("/1.0/instances/{name}");
    let mut now: Value = match client.get(&path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let removed = now["devices"]
        .as_object_mut()
        .and_then(|devices| devices.remove(loan));
    match removed {
        Some(_) => client.change("PUT", &path, &now).await,
        None => Ok(()),
    }
}

/// Ends all loans: those of a time that a snapshot has brought back.
pub(super) async fn end_loans(client: &Client, name: &InstanceName) -> Result<()> {
    let path = format!("/1.0/instances/{name}");
    let before: Value = client.get(&path).await?;
    let mut now = before.clone();
    without_loans(&mut now["devices"]);
    match now == before {
        true => Ok(()),
        false => client.change("PUT", &path, &now).await,
    }
}

/// Takes what is lent out of devices that are copied.
pub(super) fn without_loans(devices: &mut Value) {
    if let Some(devices) = devices.as_object_mut() {
        devices.retain(|name, _| !name.starts_with(Loan::PREFIX));
    }
}
