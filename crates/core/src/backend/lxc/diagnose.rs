//! What a new env needs of the engine: a pool, a network with DHCP, an image; and whether it is there.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Client;
use super::image::url_part;
use super::storage;
use super::transport::client_of;
use super::wire::{Config, Profile, Server};
use crate::backend::{Finding, Level};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EngineKind;

/// A pool that is fuller than this, in percent, will soon be in the way.
const FULL: u64 = 90;
/// Drivers whose snapshots share their blocks.
const COPY_ON_WRITE: [&str; 4] = ["btrfs", "zfs", "lvm", "ceph"];

#[derive(Deserialize)]
struct Pool {
    driver: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    managed: bool,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    config: Option<Config>,
}

pub(super) async fn all(client: &Client) -> Result<Vec<Finding>> {
    let server: Server = client.get("/1.0").await?;
    let version = &server.environment.server_version;
    let id = &client.id;
    let mut findings = vec![Finding::new(
        client.kind().label(),
        Level::Good,
        format!("{} {version} answers at {}", id.kind, id.address),
    )];
    let profile: Profile = client.get("/1.0/profiles/default").await?;
    let devices = profile.devices.unwrap_or_default();
    findings.extend(pool(client, &devices).await?);
    findings.push(network(client, &devices).await?);
    let images: Vec<String> = client.get("/1.0/images").await?;
    findings.push(Finding::new(
        subject(client, "images"),
        Level::Good,
        match images.len() {
            0 => "none yet: the first create fetches one".to_owned(),
            1 => "one".to_owned(),
            count => count.to_string(),
        },
    ));
    Ok(findings)
}

fn subject(client: &Client, what: &str) -> String {
    format!("{} {what}", client.kind())
}

fn initialise(client: &Client) -> String {
    let command = match client.kind() {
        EngineKind::Lxd => "lxd init --minimal",
        _ => "incus admin init --minimal",
    };
    format!("initialise the engine: `sudo {command}`")
}

async fn pool(client: &Client, devices: &BTreeMap<String, Config>) -> Result<Vec<Finding>> {
    let subject = subject(client, "storage");
    let Some(name) = storage::pool_of(devices) else {
        let message = "the default profile has no root disk, so nothing can be made";
        return Ok(vec![
            Finding::new(subject, Level::Bad, message).with_hint(initialise(client)),
        ]);
    };
    let path = format!("/1.0/storage-pools/{}", url_part(name));
    let found: Pool = client.get(&path).await?;
    let mut findings = vec![driver(&subject, name, &found)];
    if let Some(space) = storage::space_of(client, name).await
        && let Some(percent) = (space.used * 100).checked_div(space.total)
    {
        findings.push(room(&subject, name, percent));
    }
    Ok(findings)
}

fn driver(subject: &str, name: &str, pool: &Pool) -> Finding {
    if !pool.status.is_empty() && pool.status != "Created" {
        let message = format!("pool `{name}` is {}", pool.status);
        return Finding::new(subject, Level::Bad, message);
    }
    let driver = &pool.driver;
    if COPY_ON_WRITE.contains(&driver.as_str()) {
        let message = format!("pool `{name}` is {driver}: snapshots cost next to nothing");
        return Finding::new(subject, Level::Good, message);
    }
    let message = format!(
        "pool `{name}` is {driver}: every snapshot copies everything, and nothing is kept for undo"
    );
    Finding::new(subject, Level::Warning, message)
        .with_hint("make a pool that copies on write (btrfs, zfs), and new envs in it")
}

fn room(subject: &str, name: &str, percent: u64) -> Finding {
    let message = format!("pool `{name}` is {percent} % full");
    if percent < FULL {
        return Finding::new(subject, Level::Good, message);
    }
    Finding::new(subject, Level::Warning, message)
        .with_hint("free what undo keeps: `lxc-dev-manager gc --all`; or make the pool bigger")
}

async fn network(client: &Client, devices: &BTreeMap<String, Config>) -> Result<Finding> {
    let subject = subject(client, "network");
    let is_nic = |device: &&Config| device.get("type").is_some_and(|kind| kind == "nic");
    let Some(nic) = devices.values().find(is_nic) else {
        let message = "the default profile has no network, so envs have no address";
        return Ok(Finding::new(subject, Level::Bad, message).with_hint(initialise(client)));
    };
    let Some(name) = nic.get("network") else {
        let parent = nic.get("parent").map_or("?", String::as_str);
        let message = format!("envs are on `{parent}`, whose DHCP is not this engine's");
        return Ok(Finding::new(subject, Level::Good, message));
    };
    let found: Result<Network> = client
        .get(&format!("/1.0/networks/{}", url_part(name)))
        .await;
    let found = match found {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("the default profile's network `{name}` isn't there");
            return Ok(Finding::new(subject, Level::Bad, message).with_hint(initialise(client)));
        }
        found => found.map_err(|error: Error| error.context("the network can't be looked at"))?,
    };
    Ok(judge(client, subject, name, &found))
}

fn judge(client: &Client, subject: String, name: &str, network: &Network) -> Finding {
    if !network.managed || network.kind != "bridge" {
        let message = format!("envs are on `{name}`, which is no bridge of this engine");
        return Finding::new(subject, Level::Good, message);
    }
    let config = network.config.clone().unwrap_or_default();
    let set = |key: &str| config.get(key).map_or("", String::as_str);
    let address = set("ipv4.address");
    let tool = client_of(client.kind());
    let with = |message: String, key: &str, value: &str| {
        Finding::new(subject.clone(), Level::Warning, message).with_hint(format!(
            "change it: `{tool} network set {name} {key}={value}`"
        ))
    };
    if matches!(address, "" | "none") {
        let message = format!("bridge `{name}` gives no IPv4 addresses");
        return with(message, "ipv4.address", "auto");
    }
    if set("ipv4.dhcp") == "false" {
        let message = format!("bridge `{name}` has no DHCP, so envs get no address");
        return with(message, "ipv4.dhcp", "true");
    }
    if set("ipv4.nat") != "true" {
        let message = format!("envs on bridge `{name}` don't reach beyond this machine: no NAT");
        return with(message, "ipv4.nat", "true");
    }
    let message = format!("bridge `{name}`, {address}, with DHCP and NAT");
    Finding::new(subject, Level::Good, message)
}
