//! The backend over one engine's REST API.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::sync::OnceCell;

use super::client::Client;
use super::remotes::LxcRemotes;
use super::transport::Transport;
use super::{diagnose, dial, events, exec, files, locate, restrictions, storage, wire};
use crate::backend::{
    Backend, BackendEvent, Capabilities, Exec, ExecIo, ExecSpec, Files, Finding, GuestFile, Space,
};
use crate::error::Result;
use crate::model::{EngineId, EngineKind, EngineProject, InstanceName};

/// An LXD or Incus engine.
pub struct LxcBackend {
    pub(super) client: Client,
    /// Remotes that images may come from.
    pub(super) remotes: LxcRemotes,
    pub(super) capabilities: OnceCell<Capabilities>,
    pub(super) relays: dial::Relays,
}

impl LxcBackend {
    /// The engine at a Unix socket. Sends no request.
    #[must_use]
    pub fn new(kind: EngineKind, socket: PathBuf, project: EngineProject) -> Self {
        let id = EngineId {
            kind,
            address: socket.display().to_string(),
            project,
        };
        Self::at(
            Client::new(id, Transport::Socket(socket)),
            LxcRemotes::default(),
        )
    }

    pub(super) fn at(client: Client, remotes: LxcRemotes) -> Self {
        Self {
            client,
            remotes,
            capabilities: OnceCell::new(),
            relays: dial::Relays::default(),
        }
    }

    async fn fetch_capabilities(&self) -> Result<Capabilities> {
        let server: wire::Server = self.client.get("/1.0").await?;
        let has = |extension: &str| {
            server
                .api_extensions
                .iter()
                .flatten()
                .any(|known| known == extension)
        };
        let storage = server.environment.storage.clone().unwrap_or_default();
        // Drivers in use: "btrfs", or "btrfs | dir".
        let drivers: Vec<&str> = storage.split('|').map(str::trim).collect();
        let uses_only =
            |known: &[&str]| !drivers.is_empty() && drivers.iter().all(|d| known.contains(d));
        Ok(Capabilities {
            server: format!(
                "{} {}",
                self.client.kind(),
                server.environment.server_version
            ),
            copy_on_write: uses_only(&storage::COPY_ON_WRITE),
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
            bind_mounts: true,
        })
    }
}

#[async_trait]
impl Backend for LxcBackend {
    fn id(&self) -> &EngineId {
        &self.client.id
    }

    fn is_installed(&self) -> bool {
        match &self.client.transport {
            Transport::Socket(socket) => locate::is_installed(socket),
            // The user configured it.
            Transport::Remote(_) => true,
            Transport::Unusable(_) => locate::is_installed(Path::new(&self.client.id.address)),
        }
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        self.capabilities
            .get_or_try_init(|| self.fetch_capabilities())
            .await
            .cloned()
    }

    async fn pool_space(&self) -> Result<Option<Space>> {
        storage::pool_space(&self.client).await
    }

    async fn diagnose(&self) -> Result<Vec<Finding>> {
        diagnose::all(&self.client).await
    }

    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>> {
        events::subscribe(&self.client).await
    }

    async fn returned(&self) {
        match &self.client.transport {
            Transport::Socket(socket) => events::wait_for_socket(socket).await,
            Transport::Remote(_) | Transport::Unusable(_) => {
                tokio::time::sleep(events::RETURN_TIMEOUT).await;
            }
        }
    }
}

#[async_trait]
impl Exec for LxcBackend {
    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        exec::run(&self.client, name, spec, io).await
    }
}

#[async_trait]
impl Files for LxcBackend {
    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile> {
        files::read(&self.client, name, path).await
    }

    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()> {
        files::write(&self.client, name, path, file).await
    }

    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()> {
        files::delete(&self.client, name, path).await
    }
}
