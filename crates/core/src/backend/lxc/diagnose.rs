//! Checks what a new env needs of the engine: a pool, a network with DHCP, an image.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::Client;
use super::client::url_part;
use super::idmap;
use super::storage;
use super::transport::client_command;
use super::wire::{Config, Profile, Server};
use crate::backend::{Finding, Level};
use crate::caller::caller;
use crate::error::{Error, ErrorKind, Result};
use crate::model::EngineKind;

const POOL_WARNING_PERCENT: u64 = 90;

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
        format!("{} {version} responds at {}", id.kind, id.address),
    )];
    let profile: Profile = client.get("/1.0/profiles/default").await?;
    let devices = profile.devices.unwrap_or_default();
    findings.extend(pool(client, &devices).await?);
    findings.push(network(client, &devices).await?);
    findings.extend(mounts(client));
    let images: Vec<String> = client.list("/1.0/images").await?;
    findings.push(Finding::new(
        subject(client, "images"),
        Level::Good,
        match images.len() {
            0 => "none yet: the first `create` downloads one".to_owned(),
            count => count.to_string(),
        },
    ));
    Ok(findings)
}

fn subject(client: &Client, topic: &str) -> String {
    format!("{} {topic}", client.kind())
}

/// Whether this host lets envs have the caller's files.
fn mounts(client: &Client) -> Option<Finding> {
    let caller = caller();
    if client.id.is_remote() || caller.uid == 0 {
        return None;
    }
    let group = Some(caller.gid).filter(|gid| *gid != 0);
    let hint = idmap::hint_to_allow(caller.uid, group)?;
    let message = format!("envs cannot have files of uid {}", caller.uid);
    Some(Finding::new(subject(client, "mounts"), Level::Warning, message).with_hint(hint))
}

fn init_hint(client: &Client) -> String {
    let command = match client.kind() {
        EngineKind::Lxd => "lxd init --minimal",
        _ => "incus admin init --minimal",
    };
    format!("initialise the engine: `sudo {command}`")
}

async fn pool(client: &Client, devices: &BTreeMap<String, Config>) -> Result<Vec<Finding>> {
    let subject = subject(client, "storage");
    let Some(name) = storage::pool_of(devices) else {
        let message = "the default profile has no root disk: envs cannot be created";
        return Ok(vec![
            Finding::new(subject, Level::Bad, message).with_hint(init_hint(client)),
        ]);
    };
    let path = format!("/1.0/storage-pools/{}", url_part(name));
    let found: Pool = client.get(&path).await?;
    let mut findings = vec![driver(&subject, name, &found)];
    if let Some(space) = storage::space_of(client, name).await
        && let Some(percent) = (space.used * 100).checked_div(space.total)
    {
        findings.push(usage(&subject, name, percent));
    }
    Ok(findings)
}

fn driver(subject: &str, name: &str, pool: &Pool) -> Finding {
    if !pool.status.is_empty() && pool.status != "Created" {
        let message = format!("pool `{name}` is {}", pool.status);
        return Finding::new(subject, Level::Bad, message);
    }
    let driver = &pool.driver;
    if storage::COPY_ON_WRITE.contains(&driver.as_str()) {
        let message = format!("pool `{name}` is {driver}: snapshots share blocks");
        return Finding::new(subject, Level::Good, message);
    }
    let message = format!(
        "pool `{name}` is {driver}: each snapshot is a full copy, and undo copies are disabled"
    );
    Finding::new(subject, Level::Warning, message)
        .with_hint("create envs in a copy-on-write pool (btrfs, zfs)")
}

fn usage(subject: &str, name: &str, percent: u64) -> Finding {
    let message = format!("pool `{name}` is {percent} % full");
    if percent < POOL_WARNING_PERCENT {
        return Finding::new(subject, Level::Good, message);
    }
    Finding::new(subject, Level::Warning, message)
        .with_hint("delete undo copies: `lxc-dev-manager gc --all`; or enlarge the pool")
}

async fn network(client: &Client, devices: &BTreeMap<String, Config>) -> Result<Finding> {
    let subject = subject(client, "network");
    let is_nic = |device: &&Config| device.get("type").is_some_and(|kind| kind == "nic");
    let Some(nic) = devices.values().find(is_nic) else {
        let message = "the default profile has no network: envs get no address";
        return Ok(Finding::new(subject, Level::Bad, message).with_hint(init_hint(client)));
    };
    let Some(name) = nic.get("network") else {
        let parent = nic.get("parent").map_or("?", String::as_str);
        let message = format!("envs are on `{parent}`, which this engine does not manage");
        return Ok(Finding::new(subject, Level::Good, message));
    };
    let found: Result<Network> = client
        .get(&format!("/1.0/networks/{}", url_part(name)))
        .await;
    let found = match found {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("network `{name}` of the default profile does not exist");
            return Ok(Finding::new(subject, Level::Bad, message).with_hint(init_hint(client)));
        }
        found => found.map_err(|error: Error| error.context("cannot inspect the network"))?,
    };
    Ok(check_bridge(client, subject, name, &found))
}

fn check_bridge(client: &Client, subject: String, name: &str, network: &Network) -> Finding {
    if !network.managed || network.kind != "bridge" {
        let message = format!("envs are on `{name}`, which is not a managed bridge");
        return Finding::new(subject, Level::Good, message);
    }
    let config = network.config.clone().unwrap_or_default();
    let value = |key: &str| config.get(key).map_or("", String::as_str);
    let address = value("ipv4.address");
    let tool = client_command(client.kind());
    let warning = |message: String, key: &str, value: &str| {
        Finding::new(subject.clone(), Level::Warning, message)
            .with_hint(format!("run `{tool} network set {name} {key}={value}`"))
    };
    if matches!(address, "" | "none") {
        let message = format!("bridge `{name}` has no IPv4 addresses");
        return warning(message, "ipv4.address", "auto");
    }
    if value("ipv4.dhcp") == "false" {
        let message = format!("bridge `{name}` has no DHCP: envs get no address");
        return warning(message, "ipv4.dhcp", "true");
    }
    if value("ipv4.nat") != "true" {
        let message = format!("bridge `{name}` has no NAT: envs reach only this machine");
        return warning(message, "ipv4.nat", "true");
    }
    let message = format!("bridge `{name}`, {address}, with DHCP and NAT");
    Finding::new(subject, Level::Good, message)
}
