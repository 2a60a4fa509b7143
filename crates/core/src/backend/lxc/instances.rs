//! Instances over the REST API: creation, state, settings and marks.

use crate::backend::Instance;
use crate::backend::Instances;
use crate::backend::Usage;
use async_trait::async_trait;
use backon::{ConstantBuilder, Retryable};
use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::idmap::{self, RAW_IDMAP};
use super::ports::strip_socket_forwards;
use super::restrictions::{self, Allowed};
use super::wire::is_root_disk;
use super::wire::{AUTOSTART, DOCKER, MOUNT_PREFIX, NESTING};
use super::wire::{Config, Profile, mark_config};
use super::{LxcBackend, operation, retry};
use crate::backend::{
    CloneSpec, Image, LaunchSpec, Marks, Mount, Nesting, Progress, Secret, Settings,
};
use crate::error::{Error, ErrorKind, Result};
use crate::escape::visible;
use crate::hex;
use crate::model::{EnvStatus, InstanceName};

/// Set together with nesting: Docker needs device nodes and attributes that a container may not
/// create.
const INTERCEPTIONS: [&str; 2] = [
    "security.syscalls.intercept.mknod",
    "security.syscalls.intercept.setxattr",
];

const CPUS: &str = "limits.cpu";
const MEMORY: &str = "limits.memory";

fn source(image: &Image) -> Result<Value> {
    Ok(match image {
        Image::Template { name } => {
            let message = format!("`{name}` is a Lima template");
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

/// Settings as config keys; an empty value removes a key. Nesting is on by default, so it is set
/// only as far as the project allows.
fn settings_config(settings: &Settings, allowed: Allowed) -> Config {
    let flag = |set: bool| if set { "true" } else { "" }.to_owned();
    let is_nested = settings.nesting != Nesting::Off && allowed.nesting;
    let interceptions = INTERCEPTIONS.map(|key| (key, is_nested && allowed.interception));
    let docker = (DOCKER, is_nested && settings.nesting == Nesting::Docker);
    let nesting = [(NESTING, is_nested), docker]
        .into_iter()
        .chain(interceptions);
    let nesting = nesting.map(|(key, set)| (key.to_owned(), flag(set)));
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
        (AUTOSTART.to_owned(), flag(settings.autostart)),
    ]))
}

/// The default profile's root disk: a disk limit needs an own copy of it.
async fn profile_root(client: &Client) -> Result<(String, Config)> {
    let profile: Profile = client.get("/1.0/profiles/default").await?;
    let mut devices = profile.devices.unwrap_or_default().into_iter();
    devices
        .rfind(|(_, device)| is_root_disk(device))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "the engine's default profile has no root disk",
            )
            .with_hint("initialise the engine: `lxd init` or `incus admin init`")
        })
}

/// Each mount keeps its name: the engines detach a renamed device from a running instance, and delete what was below
/// it if that is a file or an empty directory.
fn mount_devices(mounts: &[Mount]) -> BTreeMap<String, Config> {
    let devices = mounts.iter().map(|mount| {
        let mut device = Config::from([
            ("type".to_owned(), "disk".to_owned()),
            ("source".to_owned(), mount.host.display().to_string()),
            ("path".to_owned(), mount.guest.display().to_string()),
        ]);
        if mount.readonly {
            device.insert("readonly".to_owned(), "true".to_owned());
        }
        let [host, guest] = [&mount.host, &mount.guest].map(|path| path.display());
        let what = format!("{host}\0{guest}\0{}", mount.readonly);
        let hash = hex::encode(&Sha256::digest(what));
        (format!("{MOUNT_PREFIX}{}", &hash[..12]), device)
    });
    devices.collect()
}

/// Sets whose files the mounts show. Another tool's mapping stays.
fn map_mount_owner(name: &InstanceName, config: &mut Config, settings: &Settings) -> Result<()> {
    let current = config.get(RAW_IDMAP);
    let is_foreign = current.is_some_and(|text| idmap::parse(text).is_none());
    match &settings.mount_owner {
        Some(_) if is_foreign => {
            let message = format!("`{RAW_IDMAP}` of `{name}` is set by another tool");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("unset it with the engine's own client: the mounts need it"));
        }
        Some(owner) => {
            idmap::ensure_allowed(owner)?;
            config.insert(RAW_IDMAP.to_owned(), idmap::format(owner));
        }
        None if is_foreign => {}
        None => drop(config.remove(RAW_IDMAP)),
    }
    Ok(())
}

/// `null` is an empty map.
fn parse_map<T: DeserializeOwned + Default>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// Lines of an engine's log in a message.
const MAX_LOG_LINES: usize = 3;

/// How long the init may take to end before a stop without force fails.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const RENAME_BACKOFF: ConstantBuilder = ConstantBuilder::new()
    .with_delay(Duration::from_millis(300))
    .with_max_times(3);

impl LxcBackend {
    async fn fetch_instance(&self, name: &InstanceName, query: &str) -> Result<Instance> {
        let path = format!("/1.0/instances/{name}{query}");
        let found: Result<super::wire::Instance> = self.client.get(&path).await;
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("{} has no instance `{name}`", self.client.kind()),
            ),
            _ => error,
        })?;
        found.into_instance()
    }

    /// Adds the engine's log of an instance, whose own message may only be an exit status.
    async fn explain_failed_start(&self, name: &InstanceName, error: Error) -> Error {
        let path = format!("/1.0/instances/{name}/logs/lxc.log");
        let log = match self.client.text(&path).await {
            Ok(log) => log,
            Err(log_error) => {
                tracing::debug!(?log_error, %name, "cannot read the log");
                return error;
            }
        };
        // "lxc NAME DATE ERROR    start - ../src/lxc/start.c:do_start:123 - message"
        let errors = log.lines().filter(|line| line.contains(" ERROR "));
        let messages: Vec<&str> = errors
            .map(|line| line.splitn(3, " - ").last().unwrap_or(line))
            .collect();
        // The first is the cause, and the last lines only say that the start failed.
        let shown = messages[..messages.len().min(MAX_LOG_LINES)].join("; ");
        if shown.is_empty() {
            return error;
        }
        let cause = Error::new(ErrorKind::Engine, visible(&shown).into_owned());
        Error::new(error.kind(), format!("`{name}` does not start"))
            .caused_by(cause.caused_by(error))
    }

    async fn attempt_stop(&self, name: &InstanceName, force: bool) -> Result<()> {
        let started = Instant::now();
        match self.change_state(name, "stop", force).await {
            Err(error) if error.kind() == ErrorKind::Engine => match self.instance(name).await {
                Ok(instance) if instance.status == EnvStatus::Stopped => {
                    Err(conflict(name, "stopped", error))
                }
                // Only the message tells, and each engine words it differently.
                Ok(_) if !force && started.elapsed() >= STOP_TIMEOUT => {
                    let seconds = STOP_TIMEOUT.as_secs();
                    let message = format!("the init of `{name}` did not end within {seconds} s");
                    Err(Error::new(ErrorKind::Timeout, message).caused_by(error))
                }
                _ => Err(error),
            },
            result => result,
        }
    }

    async fn change_state(&self, name: &InstanceName, action: &str, force: bool) -> Result<()> {
        let timeout = STOP_TIMEOUT.as_secs();
        let body = json!({ "action": action, "force": force, "timeout": timeout });
        let path = format!("/1.0/instances/{name}/state");
        self.client.change("PUT", &path, &body).await
    }
}

/// Error of a state change that was not needed.
fn conflict(name: &InstanceName, state: &str, error: Error) -> Error {
    let message = format!("instance `{name}` is already {state}");
    Error::new(ErrorKind::Conflict, message).caused_by(error)
}

#[async_trait]
impl Instances for LxcBackend {
    async fn instances(&self) -> Result<Vec<Instance>> {
        let found: Vec<super::wire::Instance> =
            self.client.list("/1.0/instances?recursion=2").await?;
        // Names of other tools' instances may not parse.
        Ok(found
            .into_iter()
            .filter_map(|instance| instance.into_instance().ok())
            .collect())
    }

    async fn instance(&self, name: &InstanceName) -> Result<Instance> {
        self.fetch_instance(name, "?recursion=1").await
    }

    async fn list_brief(&self) -> Result<Vec<Instance>> {
        super::list_brief::all(&self.client).await
    }

    async fn brief(&self, name: &InstanceName) -> Result<Instance> {
        self.fetch_instance(name, "").await
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage> {
        let path = format!("/1.0/instances/{name}/state");
        let state: super::wire::State = self.client.get(&path).await?;
        Ok(state.into_usage())
    }

    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let client = &self.client;
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
        map_mount_owner(&spec.name, &mut config, &spec.settings)?;
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

    async fn clone_instance(
        &self,
        spec: &CloneSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let client = &self.client;
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
        // LXD copies the source's config, but not its profiles and devices.
        let mut original: Value = client.get(&path).await?;
        strip_socket_forwards(&mut original["devices"]);
        let mut config = mark_config(&spec.marks);
        config.retain(|_, value| !value.is_empty());
        let body = json!({
            "name": spec.name,
            "type": "container",
            "source": {
                "type": "copy",
                "source": source,
                "instance_only": true,
                // A running source is copied without unwritten data, as after a power cut.
                "allow_inconsistent": true,
            },
            "config": config,
            "profiles": original["profiles"],
            "devices": original["devices"],
        });
        retry::on_vanished_file(|| {
            operation::change(client, "/1.0/instances", &body, progress, cancel)
        })
        .await
        .map(drop)
    }

    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()> {
        let client = &self.client;
        let path = format!("/1.0/instances/{name}");
        let mut instance: Value = client.get(&path).await?;
        let mut config: Config = parse_map(&instance["config"]);
        let allowed = restrictions::allowed(client).await?;
        for (key, value) in settings_config(settings, allowed) {
            if value.is_empty() {
                config.remove(&key)
            } else {
                config.insert(key, value)
            };
        }
        map_mount_owner(name, &mut config, settings)?;
        let mut devices: BTreeMap<String, Config> = parse_map(&instance["devices"]);
        devices.retain(|name, _| !name.starts_with(MOUNT_PREFIX));
        devices.extend(mount_devices(&settings.mounts));
        let own_root = devices.iter_mut().find(|(_, device)| is_root_disk(device));
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
        instance["config"] = json!(config);
        instance["devices"] = json!(devices);
        client.change("PUT", &path, &instance).await
    }

    async fn start(&self, name: &InstanceName) -> Result<()> {
        match self.change_state(name, "start", false).await {
            Err(error) if error.kind() == ErrorKind::Engine => match self.instance(name).await {
                Ok(instance) if instance.status == EnvStatus::Running => {
                    Err(conflict(name, "running", error))
                }
                Ok(instance) if instance.status == EnvStatus::Frozen => {
                    self.change_state(name, "unfreeze", false).await
                }
                _ => Err(self.explain_failed_start(name, error).await),
            },
            result => result,
        }
    }

    async fn stop(&self, name: &InstanceName, force: bool) -> Result<()> {
        let started = Instant::now();
        match self.attempt_stop(name, force).await {
            // LXC reports a failure if the guest ends before LXC hears of it.
            Err(error) if error.kind() == ErrorKind::Engine && started.elapsed() < STOP_TIMEOUT => {
                match self.attempt_stop(name, force).await {
                    Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
                    stopped => stopped,
                }
            }
            result => result,
        }
    }

    async fn delete(&self, name: &InstanceName) -> Result<()> {
        self.client
            .change("DELETE", &format!("/1.0/instances/{name}"), &json!({}))
            .await
    }

    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()> {
        let path = format!("/1.0/instances/{name}");
        let body = json!({ "name": new });
        let rename = || self.client.change("POST", &path, &body);
        // Right after a stop the engine may still write its logs: the rename fails and is rolled back.
        rename
            .retry(RENAME_BACKOFF)
            .when(|error| error.kind() == ErrorKind::Engine)
            .notify(|error, _| tracing::debug!(?error, %name, "retrying the rename"))
            .await
    }

    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()> {
        let client = &self.client;
        let body = json!({ "config": mark_config(marks) });
        client
            .change("PATCH", &format!("/1.0/instances/{name}"), &body)
            .await
    }

    async fn settle(&self, name: &InstanceName) -> Result<()> {
        operation::settle(&self.client, name).await
    }
}
