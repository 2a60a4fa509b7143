//! LXD and Incus over their REST API.
//!
//! One code for both: they share paths and JSON, and where they differ the engine's own
//! `api_extensions` decide, not its version. Every request has a connection of its own, to the Unix
//! socket (tens of microseconds) or by TLS to a remote, so nothing has to be mended after the engine
//! was restarted.
//! Format: <https://documentation.ubuntu.com/lxd/latest/api/>,
//! <https://linuxcontainers.org/incus/docs/main/api/>.
//!
//! Deliberately absent: the engines' command-line tools. No process is started.

mod busy;
mod client;
mod clients;
mod config;
mod diagnose;
mod dial;
mod events;
mod exec;
mod files;
mod ignore_write_errors;
mod image;
mod image_store;
mod instance;
mod list_brief;
mod locate;
mod operation;
mod replay;
mod restrictions;
mod socket_forward;
mod storage;
mod tls;
mod transport;
mod vanished;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Backend, BackendEvent, Capabilities, CopySpec, ExecIo, ExecSpec, Finding, GuestFile, Image,
    Instance, LaunchSpec, Marks, Progress, Route, Settings, SocketForward, Space, StoredImage,
    Usage,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    EngineId, EngineKind, EngineProject, EnvStatus, Fingerprint, ImageName, InstanceName,
    SnapshotName,
};

use client::Client;
pub use clients::Clients;
pub use locate::{Surroundings, Variables};
use transport::Transport;

/// How long an init may take to end before a stop without force gives up.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How often a rename is tried.
const RENAME_TRIES: u32 = 4;
/// Pause before it is tried again.
const RENAME_PAUSE: Duration = Duration::from_millis(300);

/// An LXD or Incus.
pub struct LxcBackend {
    client: Client,
    /// What the user's clients know: remotes that images may come from.
    clients: Clients,
    server: OnceCell<Capabilities>,
    /// What runs in its instances for `dial`.
    relays: dial::Relays,
}

impl LxcBackend {
    /// The engine behind a Unix socket. Nothing is asked of it yet.
    #[must_use]
    pub fn new(kind: EngineKind, socket: PathBuf, project: EngineProject) -> Self {
        let id = EngineId {
            kind,
            address: socket.display().to_string(),
            project,
        };
        Self::at(
            Client::new(id, Transport::Socket(socket)),
            Clients::default(),
        )
    }

    fn at(client: Client, clients: Clients) -> Self {
        Self {
            client,
            clients,
            server: OnceCell::new(),
            relays: dial::Relays::default(),
        }
    }

    async fn ask_server(&self) -> Result<Capabilities> {
        let server: wire::Server = self.client.get("/1.0").await?;
        let has = |extension: &str| server.api_extensions.iter().any(|known| known == extension);
        let storage = server.environment.storage.clone().unwrap_or_default();
        // `storage` lists the drivers in use: "btrfs", or "btrfs | dir".
        let drivers: Vec<&str> = storage.split('|').map(str::trim).collect();
        let only = |good: &[&str]| !drivers.is_empty() && drivers.iter().all(|d| good.contains(d));
        Ok(Capabilities {
            server: format!(
                "{} {}",
                self.client.kind(),
                server.environment.server_version
            ),
            copy_on_write: only(&["btrfs", "zfs", "lvm", "ceph"]),
            restore_keeps_later_snapshots: !drivers.contains(&"zfs"),
            snapshots: restrictions::allowed(&self.client).await?.snapshots,
            snapshot_expiry: has("snapshot_expiry_creation"),
            limits: true,
            copies_running: true,
            snapshots_running: true,
            renews_identity: false,
            autostart: true,
            disks_shrink: true,
            addresses: true,
            native_forwards: false,
            rosetta: false,
            settings_at_start: false,
        })
    }

    async fn ask_instance(&self, name: &InstanceName, query: &str) -> Result<Instance> {
        let path = format!("/1.0/instances/{name}{query}");
        let found: Result<wire::Instance> = self.client.get(&path).await;
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("{} has no instance `{name}`", self.client.kind()),
            ),
            _ => error,
        })?;
        found.into_instance()
    }

    async fn try_to_stop(&self, name: &InstanceName, force: bool) -> Result<()> {
        let begun = Instant::now();
        match self.change_state(name, "stop", force).await {
            Err(error) if error.kind() == ErrorKind::Engine => match self.instance(name).await {
                Ok(instance) if instance.status == EnvStatus::Stopped => {
                    Err(conflict(name, "stopped", error))
                }
                // The engines say so with words only, and differing ones.
                Ok(_) if !force && begun.elapsed() >= STOP_PATIENCE => {
                    let waited = STOP_PATIENCE.as_secs();
                    let message = format!("the init of `{name}` didn't end within {waited} s");
                    Err(Error::new(ErrorKind::Timeout, message).caused_by(error))
                }
                _ => Err(error),
            },
            done => done,
        }
    }

    async fn change_state(&self, name: &InstanceName, action: &str, force: bool) -> Result<()> {
        let timeout = STOP_PATIENCE.as_secs();
        let body = json!({ "action": action, "force": force, "timeout": timeout });
        let path = format!("/1.0/instances/{name}/state");
        self.client.change("PUT", &path, &body).await
    }
}

/// A refused change of state that had nothing to do.
fn conflict(name: &InstanceName, is: &str, error: Error) -> Error {
    let message = format!("instance `{name}` is already {is}");
    Error::new(ErrorKind::Conflict, message).caused_by(error)
}

#[async_trait]
impl Backend for LxcBackend {
    fn id(&self) -> &EngineId {
        &self.client.id
    }

    fn is_installed(&self) -> bool {
        match &self.client.transport {
            Transport::Socket(socket) => locate::is_installed(socket),
            // Whoever names a remote means it.
            Transport::Remote(_) => true,
            Transport::Unusable(_) => locate::is_installed(Path::new(&self.client.id.address)),
        }
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        self.server
            .get_or_try_init(|| self.ask_server())
            .await
            .cloned()
    }

    async fn instances(&self) -> Result<Vec<Instance>> {
        let found: Vec<wire::Instance> = self.client.get("/1.0/instances?recursion=2").await?;
        // A name that isn't ours to read (a virtual machine of another tool, say) is not an error.
        Ok(found
            .into_iter()
            .filter_map(|instance| instance.into_instance().ok())
            .collect())
    }

    async fn instance(&self, name: &InstanceName) -> Result<Instance> {
        self.ask_instance(name, "?recursion=1").await
    }

    async fn list_brief(&self) -> Result<Vec<Instance>> {
        list_brief::all(&self.client).await
    }

    async fn brief(&self, name: &InstanceName) -> Result<Instance> {
        self.ask_instance(name, "").await
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage> {
        let path = format!("/1.0/instances/{name}/state");
        let state: wire::State = self.client.get(&path).await?;
        Ok(state.into_usage())
    }

    async fn pool_space(&self) -> Result<Option<Space>> {
        storage::pool_space(&self.client).await
    }

    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>> {
        storage::held_bytes(&self.client, name, snapshot).await
    }

    async fn find_image(&self, name: &ImageName) -> Result<Image> {
        image::find(&self.client, &self.clients, name).await
    }

    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        instance::create(&self.client, spec, progress, cancel).await
    }

    async fn copy(
        &self,
        spec: &CopySpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        instance::copy(&self.client, spec, progress, cancel).await
    }

    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()> {
        instance::configure(&self.client, name, settings).await
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
                _ => Err(error),
            },
            done => done,
        }
    }

    async fn stop(&self, name: &InstanceName, force: bool) -> Result<()> {
        let begun = Instant::now();
        match self.try_to_stop(name, force).await {
            // The guest may be gone before LXC is told, which then reports a failure.
            Err(error) if error.kind() == ErrorKind::Engine && begun.elapsed() < STOP_PATIENCE => {
                match self.try_to_stop(name, force).await {
                    Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
                    stopped => stopped,
                }
            }
            done => done,
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
        let mut tries = 0;
        loop {
            tries += 1;
            match self.client.change("POST", &path, &body).await {
                // Right after a stop the engine may still be at its logs, and then finds its own directory
                // in the way; it has taken back what it did.
                Err(error) if error.kind() == ErrorKind::Engine && tries < RENAME_TRIES => {
                    tracing::debug!(?error, %name, "renamed again");
                    tokio::time::sleep(RENAME_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()> {
        instance::set_marks(&self.client, name, marks).await
    }

    async fn snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        _progress: &Progress,
    ) -> Result<()> {
        let mut body = json!({ "name": snapshot, "stateful": false });
        if let Some(at) = expires_at {
            body["expires_at"] = json!(at);
        }
        let path = format!("/1.0/instances/{name}/snapshots");
        vanished::again(|| self.client.change("POST", &path, &body)).await
    }

    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        _progress: &Progress,
    ) -> Result<()> {
        instance::restore(self, &self.client, name, snapshot).await
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let path = format!("/1.0/instances/{name}/snapshots/{snapshot}");
        self.client.change("DELETE", &path, &json!({})).await
    }

    async fn images(&self) -> Result<Vec<StoredImage>> {
        image_store::list(&self.client).await
    }

    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Fingerprint> {
        image_store::publish(&self.client, name, snapshot, alias, progress, cancel).await
    }

    async fn delete_image(&self, image: &Fingerprint) -> Result<()> {
        image_store::delete(&self.client, image).await
    }

    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        image_store::rename(&self.client, alias, new).await
    }

    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()> {
        image_store::export(&self.client, image, to, progress).await
    }

    async fn import_image(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        image_store::import(&self.client, from, alias, progress).await
    }

    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile> {
        files::read(&self.client, name, path).await
    }

    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()> {
        files::write(&self.client, name, path, file).await
    }

    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()> {
        files::delete(&self.client, name, path).await
    }

    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        exec::run(&self.client, name, spec, io).await
    }

    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>> {
        dial::route(&self.client, &self.relays, name).await
    }

    async fn forward_socket(&self, name: &InstanceName, forward: &SocketForward) -> Result<()> {
        socket_forward::forward_socket(&self.client, name, forward).await
    }

    async fn end_socket_forward(&self, name: &InstanceName, forward: &str) -> Result<()> {
        socket_forward::end_socket_forward(&self.client, name, forward).await
    }

    async fn end_socket_forwards(&self, name: &InstanceName) -> Result<()> {
        socket_forward::end_socket_forwards(&self.client, name).await
    }

    async fn diagnose(&self) -> Result<Vec<Finding>> {
        diagnose::all(&self.client).await
    }

    async fn settle(&self, name: &InstanceName) -> Result<()> {
        operation::settle(&self.client, name).await
    }

    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>> {
        events::subscribe(&self.client).await
    }

    async fn returned(&self) {
        match &self.client.transport {
            Transport::Socket(socket) => events::socket_returned(socket).await,
            Transport::Remote(_) | Transport::Unusable(_) => {
                tokio::time::sleep(events::RETURN_TIMEOUT).await;
            }
        }
    }
}
